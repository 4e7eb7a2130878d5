// The exact GELU, x Φ(x), behind a bias or in front of a gate: forward and backward.
#include "common.h"

#include <cstring>
#include <vector>

using namespace electrify;

namespace {

constexpr int PIECES = 32;   // as many as two registers hold
constexpr double END = 6.0;  // Φ(-6) is 1e-9

// A function on [0, 6], cubic on each of 32 pieces through Chebyshev's nodes; its last value beyond.
struct Pieces {
    alignas(64) float powers[4][PIECES];

    template <typename Function>
    explicit Pieces(Function function) {
        for (int piece = 0; piece < PIECES; piece++) {
            double places[4], slopes[4], sum[4] = {};
            for (int i = 0; i < 4; i++) {
                places[i] = 0.5 + 0.5 * std::cos(M_PI * (2 * i + 1) / 8);
                slopes[i] = function((piece + places[i]) * END / PIECES);
            }
            for (int level = 1; level < 4; level++)  // Newton's divided differences
                for (int i = 3; i >= level; i--) slopes[i] = (slopes[i] - slopes[i - 1]) / (places[i] - places[i - level]);
            for (int level = 3; level >= 0; level--) {  // Horner's scheme, multiplied out
                for (int i = 3; i > 0; i--) sum[i] = sum[i - 1] - places[level] * sum[i];
                sum[0] = slopes[level] - places[level] * sum[0];
            }
            for (int i = 0; i < 4; i++) powers[i][piece] = static_cast<float>(sum[i]);
        }
    }
};

double tail_of(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }
double slope_of(double x) { return tail_of(x) - x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); }

const Pieces TAIL(tail_of);    // Φ(-x), to 3e-7
const Pieces SLOPE(slope_of);  // gelu'(-x) = Φ(-x) - x φ(x), to 2e-6

// Where |x| lies among the pieces.
struct Place {
    __m512i piece;
    __m512 rest;  // in [0, 1]

    explicit Place(__m512 size) {
        const __m512 place = _mm512_min_ps(_mm512_mul_ps(size, _mm512_set1_ps(static_cast<float>(PIECES / END))),
                                           _mm512_set1_ps(PIECES - 1e-5f));
        piece = _mm512_cvttps_epi32(place);
        rest = _mm512_sub_ps(place, _mm512_cvtepi32_ps(piece));
    }

    __m512 operator()(const Pieces& of) const {
        __m512 sum = at(of, 3);
#pragma GCC unroll 3
        for (int power = 2; power >= 0; power--) sum = _mm512_fmadd_ps(sum, rest, at(of, power));
        return sum;
    }

    __m512 at(const Pieces& of, int power) const {
        return _mm512_permutex2var_ps(_mm512_load_ps(of.powers[power]), piece, _mm512_load_ps(of.powers[power] + LANES));
    }
};

// x Φ(x) = max(x, 0) - |x| Φ(-|x|)
inline __m512 gelu_at(__m512 x, __m512 size, const Place& place) {
    return _mm512_fnmadd_ps(size, place(TAIL), _mm512_max_ps(x, _mm512_setzero_ps()));
}

inline __m512 gelu(__m512 x) {
    const __m512 size = _mm512_abs_ps(x);
    return gelu_at(x, size, Place(size));
}

// gelu'(x) = 1 - gelu'(-x)
inline __m512 slope_at(__m512 x, const Place& place) {
    const __m512 slope = place(SLOPE);
    const __mmask16 is_positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mask_sub_ps(slope, is_positive, _mm512_set1_ps(1.0f), slope);
}

}  // namespace

extern "C" {

// out = gelu(x + bias); all (tokens, size)
void gelu_bf16(const bf16* x, const float* bias, bf16* out, long tokens, long size, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < tokens; token++)
        for (long i = 0; i < size; i += LANES) {
            const __m512 value = _mm512_add_ps(load(x + token * size + i), load(bias + i));
            store(out + token * size + i, gelu(value));
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
                const __m512 slope = slope_at(value, Place(_mm512_abs_ps(value)));
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
void gated_gelu_bf16(const bf16* x, const int64_t* keys, long site, double drop_prob, const int64_t* places, long tokens,
                     bf16* out, long count, long size, int threads) {
    const Lines lines{places, tokens};
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < count; token++) {
        const Keep keep(keys, lines.row(token), site, drop_prob);
        const uint32_t first = lines.first(token);
        const bf16 *values = x + token * 2 * size, *gate = values + size;
        each_vector(keep, first, size, [&](long i, __mmask16 kept) {
            const __m512 product = _mm512_mul_ps(gelu(load(values + i)), load(gate + i));
            store(out + token * size + i, keep.apply(product, kept));
        });
    }
}

void gated_gelu_backward_bf16(const bf16* out_grad, const bf16* x, const int64_t* keys, long site, double drop_prob,
                              const int64_t* places, long tokens, bf16* x_grad, long count, long size, int threads) {
    const Lines lines{places, tokens};
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long token = 0; token < count; token++) {
        const Keep keep(keys, lines.row(token), site, drop_prob);
        const uint32_t first = lines.first(token);
        const bf16 *values = x + token * 2 * size, *gate = values + size;
        each_vector(keep, first, size, [&](long i, __mmask16 kept) {
            const __m512 value = load(values + i), size_of_it = _mm512_abs_ps(value);
            const Place place(size_of_it);
            const __m512 gradient = keep.apply(load(out_grad + token * size + i), kept);
            const __m512 slope = slope_at(value, place);
            store(x_grad + token * 2 * size + i, _mm512_mul_ps(_mm512_mul_ps(gradient, load(gate + i)), slope));
            store(x_grad + token * 2 * size + size + i, _mm512_mul_ps(gradient, gelu_at(value, size_of_it, place)));
        });
    }
}
}
