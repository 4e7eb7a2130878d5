// z = residual + dropout(x + bias), and its layer norm: forward and backward, a token at a time.
#include "common.h"

#include <cstring>
#include <vector>

using namespace electrify;

namespace {

template <typename Z>
void forward(const bf16* x, const float* bias, const Z* residual, const float* weight, const float* norm_bias,
             float epsilon, const int64_t* keys, long site, double drop_prob, Lines lines, long count, long size, Z* z,
             bf16* out, float* mean, float* scale, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < count; token++) {
        const Keep keep(keys, lines.row(token), site, drop_prob);
        const uint32_t first = lines.first(token);
        const long at = token * size;
        __m512 sum = _mm512_setzero_ps();
        each_vector(keep, first, size, [&](long i, __mmask16 kept) {
            __m512 value = load(x + at + i);
            if (bias) value = _mm512_add_ps(value, load(bias + i));
            store(z + at + i, _mm512_add_ps(keep.apply(value, kept), load(residual + at + i)));
            sum = _mm512_add_ps(sum, load(z + at + i));  // as stored: backward sees the same numbers
        });
        const float average = _mm512_reduce_add_ps(sum) / size;
        const __m512 centre = _mm512_set1_ps(average);
        __m512 squares = _mm512_setzero_ps();
        for (long i = 0; i < size; i += LANES) {
            const __m512 distance = _mm512_sub_ps(load(z + at + i), centre);
            squares = _mm512_fmadd_ps(distance, distance, squares);
        }
        const float inverse = 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / size + epsilon);
        const __m512 factor = _mm512_set1_ps(inverse);
        for (long i = 0; i < size; i += LANES) {
            const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(z + at + i), centre), factor);
            const __m512 offset = norm_bias ? load(norm_bias + i) : _mm512_setzero_ps();
            store(out + at + i, _mm512_fmadd_ps(normal, load(weight + i), offset));
        }
        mean[token] = average;
        scale[token] = inverse;
    }
}

template <typename Z>
void backward(const bf16* out_grad, const Z* z_grad, const Z* z, const float* weight, const float* mean,
              const float* scale, const int64_t* keys, long site, double drop_prob, Lines lines, long count, long size,
              Z* residual_grad, bf16* x_grad, float* sums, int threads) {
    std::vector<float> partial(static_cast<size_t>(threads) * 3 * size, 0.0f);  // of weight, norm bias, bias
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < threads; part++) {
        float* weight_sum = partial.data() + part * 3 * size;
        float *offset_sum = weight_sum + size, *bias_sum = offset_sum + size;
        const long begin = count * part / threads, end = count * (part + 1) / threads;
        for (long token = begin; token < end; token++) {
            const Keep keep(keys, lines.row(token), site, drop_prob);
            const uint32_t first = lines.first(token);
            const long at = token * size;
            const __m512 centre = _mm512_set1_ps(mean[token]), factor = _mm512_set1_ps(scale[token]);
            __m512 sum = _mm512_setzero_ps(), projection = _mm512_setzero_ps();
            for (long i = 0; i < size; i += LANES) {
                const __m512 gradient = load(out_grad + at + i);
                const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(z + at + i), centre), factor);
                const __m512 weighted = _mm512_mul_ps(gradient, load(weight + i));
                sum = _mm512_add_ps(sum, weighted);
                projection = _mm512_fmadd_ps(weighted, normal, projection);
                store(weight_sum + i, _mm512_fmadd_ps(gradient, normal, load(weight_sum + i)));
                store(offset_sum + i, _mm512_add_ps(gradient, load(offset_sum + i)));
            }
            const __m512 average = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / size);
            const __m512 slope = _mm512_set1_ps(_mm512_reduce_add_ps(projection) / size);
            each_vector(keep, first, size, [&](long i, __mmask16 kept) {
                const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(z + at + i), centre), factor);
                __m512 gradient = _mm512_fmsub_ps(load(out_grad + at + i), load(weight + i), average);
                gradient = _mm512_mul_ps(_mm512_fnmadd_ps(normal, slope, gradient), factor);
                if (z_grad) gradient = _mm512_add_ps(gradient, load(z_grad + at + i));
                store(residual_grad + at + i, gradient);
                gradient = keep.apply(gradient, kept);
                if (x_grad) store(x_grad + at + i, gradient);
                store(bias_sum + i, _mm512_add_ps(gradient, load(bias_sum + i)));
            });
        }
    }
    std::memset(sums, 0, sizeof(float) * 3 * size);
    for (int part = 0; part < threads; part++)
        for (long i = 0; i < 3 * size; i++) sums[i] += partial[part * 3 * size + i];
}

}  // namespace

extern "C" {

#define FORWARD(NAME, Z)                                                                                              \
    void NAME(const bf16* x, const float* bias, const Z* residual, const float* weight, const float* norm_bias,       \
              float epsilon, const int64_t* keys, long site, double drop_prob, const int64_t* places, long tokens,    \
              long count, long size, Z* z, bf16* out, float* mean, float* scale, int threads) {                       \
        forward<Z>(x, bias, residual, weight, norm_bias, epsilon, keys, site, drop_prob, {places, tokens}, count,     \
                   size, z, out, mean, scale, threads);                                                               \
    }
#define BACKWARD(NAME, Z)                                                                                             \
    void NAME(const bf16* out_grad, const Z* z_grad, const Z* z, const float* weight, const float* mean,              \
              const float* scale, const int64_t* keys, long site, double drop_prob, const int64_t* places,            \
              long tokens, long count, long size, Z* residual_grad, bf16* x_grad, float* sums, int threads) {         \
        backward<Z>(out_grad, z_grad, z, weight, mean, scale, keys, site, drop_prob, {places, tokens}, count, size,   \
                    residual_grad, x_grad, sums, threads);                                                            \
    }

FORWARD(add_norm_bf16, bf16)
FORWARD(add_norm_fp32, float)
BACKWARD(add_norm_backward_bf16, bf16)
BACKWARD(add_norm_backward_fp32, float)
}
