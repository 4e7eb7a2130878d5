// The gradient of a weight: the sum over tokens of the outer products of outputs' gradients and inputs, in float32.
//
// Both factors lie with their tokens one below the other, which is along the summed dimension: general products first
// transpose one of them. Here neighbouring tokens are interleaved to the pairs that the dot-product instruction takes.
#include <algorithm>

#include "buffer.h"
#include "matrix.h"

using namespace electrify;

namespace {

constexpr long PANEL = 4 * LANES;          // columns that are multiplied at once
constexpr long CACHE_PAIRS = 3 << 16;      // pairs of both factors in one block: 768 KiB
constexpr long MOST_PAIRS = 256;           // of tokens in one block

// Tokens [from, from + 2 pairs) of columns [begin, begin + width): pairs, (pairs, width). Past the last token: zero.
void pack(const bf16* x, long size, long begin, long width, long from, long tokens, long pairs, uint32_t* to) {
    const __m256i zero = _mm256_setzero_si256();
    for (long k = 0; k < pairs; k++) {
        const long token = from + 2 * k;
        const bf16* line = x + token * size + begin;
        for (long i = 0; i < width; i += LANES) {
            const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line + i));
            const __m256i b = token + 1 < tokens ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line + size + i)) : zero;
            _mm512_storeu_si512(to + k * width + i, interleave(a, b));
        }
    }
}

void multiply_part(const bf16* out_grad, const bf16* x, long tokens, long rows, long columns, long first, long last,
                   float* weight_grad) {
    const long fitting = CACHE_PAIRS / (last - first + columns);
    const long most = std::max(16L, std::min(MOST_PAIRS, fitting));
    const Buffer<uint32_t> left(most * (last - first)), right(most * columns);
    for (long from = 0; from < tokens; from += 2 * most) {
        const long pairs = std::min(most, (tokens - from + 1) / 2);
        for (long m = first; m < last; m += LANES)
            pack(out_grad, rows, m, LANES, from, tokens, pairs, left + (m - first) * pairs);
        for (long n = 0; n < columns; n += PANEL)
            pack(x, columns, n, std::min(PANEL, columns - n), from, tokens, pairs, right + n * pairs);
        for (long n = 0; n < columns; n += PANEL) {
            const long width = std::min(PANEL, columns - n);
            for (long m = first; m < last; m += LANES)
                multiply(left + (m - first) * pairs, 1, LANES, right + n * pairs, width, LANES, width, pairs,
                         weight_grad + m * columns + n, columns, from > 0);
        }
    }
}

}  // namespace

// weight_grad (rows × columns) = out_gradᵀ x; out_grad (tokens × rows), x (tokens × columns); multiples of 16.
extern "C" void weight_grad_bf16(const bf16* out_grad, const bf16* x, float* weight_grad, long tokens, long rows,
                                 long columns, int threads) {
    const long units = rows / LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < threads; part++) {
        const long first = units * part / threads * LANES, last = units * (part + 1) / threads * LANES;
        if (last > first) multiply_part(out_grad, x, tokens, rows, columns, first, last, weight_grad);
    }
}
