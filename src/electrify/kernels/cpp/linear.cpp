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
constexpr long MOST_ROWS = 1024;           // of the weight, in one strip

// Sixteen columns of two neighbouring tokens as pairs; the second may be past the last token, columns past the last: zero.
inline __m512i pair(const bf16* line, long size, bool has_second, __mmask16 columns) {
    const __m256i a = _mm256_maskz_loadu_epi16(columns, line);
    const __m256i b = has_second ? _mm256_maskz_loadu_epi16(columns, line + size) : _mm256_setzero_si256();
    return interleave(a, b);
}

// Tokens [from, from + 2 pairs) of columns [begin, begin + width) as pairs, (pairs, width).
void pack(const bf16* x, long size, long begin, long width, long from, long tokens, long pairs, uint32_t* to) {
    for (long i = 0; i < width; i += LANES) {
        const long left = size - begin - i;
        const auto columns = static_cast<__mmask16>(left >= LANES ? 0xFFFF : (1u << left) - 1);
        for (long k = 0; k < pairs; k++) {
            const long token = from + 2 * k;
            _mm512_storeu_si512(to + k * width + i, pair(x + token * size + begin + i, size, token + 1 < tokens, columns));
        }
    }
}

// Rows [first, last) of the gradient; `last` is rounded up to whole vectors.
void multiply_part(const bf16* out_grad, const bf16* x, long tokens, long rows, long columns, long first, long last,
                   float* weight_grad, bool accumulate) {
    const long fitting = CACHE_PAIRS / (last - first + columns);
    const long most = std::max(16L, std::min(MOST_PAIRS, fitting));
    const Buffer<uint32_t> left(most * (last - first)), right(most * columns);
    const Buffer<float> spare(LANES * PANEL);
    for (long from = 0; from < tokens; from += 2 * most) {
        const long pairs = std::min(most, (tokens - from + 1) / 2);
        const bool adds = accumulate || from > 0;
        for (long m = first; m < last; m += LANES)
            pack(out_grad, rows, m, LANES, from, tokens, pairs, left + (m - first) * pairs);
        for (long n = 0; n < columns; n += PANEL)
            pack(x, columns, n, std::min(PANEL, columns - n), from, tokens, pairs, right + n * pairs);
        for (long n = 0; n < columns; n += PANEL) {
            const long width = std::min(PANEL, columns - n);
            for (long m = first; m < last; m += LANES) {
                const uint32_t *mine = left + (m - first) * pairs, *theirs = right + n * pairs;
                float* target = weight_grad + m * columns + n;
                if (m + LANES <= rows) {
                    multiply(mine, 1, LANES, theirs, width, LANES, width, pairs, target, columns, adds);
                    continue;
                }
                multiply(mine, 1, LANES, theirs, width, LANES, width, pairs, spare, width, false);
                for (long row = m; row < rows; row++)
                    for (long i = 0; i < width; i++) {
                        float& sum = target[(row - m) * columns + i];
                        sum = spare[(row - m) * width + i] + (adds ? sum : 0);
                    }
            }
        }
    }
}

}  // namespace

// weight_grad (rows × columns) = or += out_gradᵀ x; out_grad (tokens × rows), x (tokens × columns), columns a multiple of 16.
extern "C" void weight_grad_bf16(const bf16* out_grad, const bf16* x, float* weight_grad, long tokens, long rows,
                                 long columns, int accumulate, int threads) {
    const long units = (rows + LANES - 1) / LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < threads; part++) {
        const long end = units * (part + 1) / threads * LANES;
        for (long first = units * part / threads * LANES; first < end; first += MOST_ROWS)
            multiply_part(out_grad, x, tokens, rows, columns, first, std::min(first + MOST_ROWS, end), weight_grad,
                          accumulate);
    }
}
