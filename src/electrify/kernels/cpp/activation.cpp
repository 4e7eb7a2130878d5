// The exact GELU, x Φ(x), behind a bias or in front of a gate: forward and backward.
#include "common.h"

#include <cstring>
#include <vector>

using namespace electrify;

namespace {

struct Normal {
    __m512 below;    // Φ(x)
    __m512 density;  // φ(x)
};

// Φ to 8e-8, absolute: Abramowitz and Stegun 7.1.26, whose exp(-x²/2) is the density too.
inline Normal normal(__m512 x) {
    const __m512 size = _mm512_abs_ps(x), one = _mm512_set1_ps(1.0f);
    const __m512 decay = electrify::exp(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5f)));
    const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(size, _mm512_set1_ps(0.3275911f * 0.70710678f), one));
    __m512 sum = _mm512_set1_ps(1.061405429f);
    for (const float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
        sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(coefficient));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(sum, t), _mm512_mul_ps(decay, _mm512_set1_ps(0.5f)));
    const __mmask16 is_negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return {_mm512_mask_mov_ps(_mm512_sub_ps(one, tail), is_negative, tail),
            _mm512_mul_ps(decay, _mm512_set1_ps(0.39894228f))};
}

}  // namespace

extern "C" {

// out = gelu(x + bias); all (tokens, size)
void gelu_bf16(const bf16* x, const float* bias, bf16* out, long tokens, long size, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < tokens; token++)
        for (long i = 0; i < size; i += LANES) {
            const __m512 value = _mm512_add_ps(load(x + token * size + i), load(bias + i));
            store(out + token * size + i, _mm512_mul_ps(value, normal(value).below));
        }
}

void gelu_backward_bf16(const bf16* out_grad, const bf16* x, const float* bias, bf16* x_grad, float* bias_grad,
                        long tokens, long size, int threads) {
    std::vector<float> partial(static_cast<size_t>(threads) * size, 0.0f);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < threads; part++) {
        float* sum = partial.data() + part * size;
        for (long token = tokens * part / threads; token < tokens * (part + 1) / threads; token++)
            for (long i = 0; i < size; i += LANES) {
                const __m512 value = _mm512_add_ps(load(x + token * size + i), load(bias + i));
                const Normal at = normal(value);
                const __m512 slope = _mm512_fmadd_ps(value, at.density, at.below);
                const __m512 gradient = _mm512_mul_ps(load(out_grad + token * size + i), slope);
                store(x_grad + token * size + i, gradient);
                store(sum + i, _mm512_add_ps(load(sum + i), gradient));
            }
    }
    std::memset(bias_grad, 0, sizeof(float) * size);
    for (int part = 0; part < threads; part++)
        for (long i = 0; i < size; i++) bias_grad[i] += partial[part * size + i];
}

// out = dropout(gelu(values) · gate), where a token of x holds `size` values and then `size` gates
void gated_gelu_bf16(const bf16* x, const int64_t* keys, long site, double drop_prob, bf16* out, long rows, long tokens,
                     long size, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < rows * tokens; token++) {
        const Keep keep(keys, token / tokens, site, drop_prob);
        const uint32_t first = static_cast<uint32_t>(token % tokens) << 13;
        const bf16 *values = x + token * 2 * size, *gate = values + size;
        for (long i = 0; i < size; i += LANES) {
            const __m512 value = load(values + i);
            const __m512 product = _mm512_mul_ps(_mm512_mul_ps(value, normal(value).below), load(gate + i));
            store(out + token * size + i, keep.apply(product, first + i));
        }
    }
}

void gated_gelu_backward_bf16(const bf16* out_grad, const bf16* x, const int64_t* keys, long site, double drop_prob,
                              bf16* x_grad, long rows, long tokens, long size, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < rows * tokens; token++) {
        const Keep keep(keys, token / tokens, site, drop_prob);
        const uint32_t first = static_cast<uint32_t>(token % tokens) << 13;
        const bf16 *values = x + token * 2 * size, *gate = values + size;
        for (long i = 0; i < size; i += LANES) {
            const __m512 value = load(values + i);
            const Normal at = normal(value);
            const __m512 gradient = keep.apply(load(out_grad + token * size + i), first + i);
            const __m512 slope = _mm512_fmadd_ps(value, at.density, at.below);
            store(x_grad + token * 2 * size + i, _mm512_mul_ps(_mm512_mul_ps(gradient, load(gate + i)), slope));
            store(x_grad + token * 2 * size + size + i,
                  _mm512_mul_ps(gradient, _mm512_mul_ps(value, at.below)));
        }
    }
}
}
