// Products of many tokens with a weight, in bfloat16 with sums in float32: a linear map, and the gradient of its input.
//
// The libraries' own products are prepared anew for each number of tokens, which takes longer than some of them last
// where no two batches have as many. Here nothing depends on it, nor does any token's result. The weight is packed in
// passing, from float32 if it is kept so, to panels of 64 columns that stay in the cache while all tokens pass.
#include <algorithm>

#include "buffer.h"
#include "matrix.h"

using namespace electrify;

namespace {

constexpr long PANEL = 4 * LANES;  // columns that are multiplied at once
constexpr int TILE = 6;            // tokens at once

inline __m512i load_pairs(const float* from) {
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + LANES), _mm512_loadu_ps(from));
}
inline __m512i load_pairs(const bf16* from) { return _mm512_loadu_si512(from); }
inline __m256i load_half(const float* from) { return to_bf16(_mm512_loadu_ps(from)); }
inline __m256i load_half(const bf16* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// Columns [begin, begin + width) of the factor that tokens are multiplied with, (pairs, width) pairs along the sum.
// Forward the factor is the weight's transpose, and a weight's row holds its pairs; backward it is the weight itself.
template <typename W>
void pack(const W* weight, long ins, bool is_forward, long begin, long width, long pairs, uint32_t* to) {
    if (!is_forward) {
        for (long k = 0; k < pairs; k++)
            for (long i = 0; i < width; i += LANES) {
                const W* line = weight + 2 * k * ins + begin + i;
                _mm512_storeu_si512(to + k * width + i, interleave(load_half(line), load_half(line + ins)));
            }
        return;
    }
    alignas(64) uint32_t square[LANES * LANES], turned[LANES * LANES];
    for (long i = 0; i < width; i += LANES)
        for (long k = 0; k < pairs; k += LANES) {
            const long here = std::min(LANES, pairs - k);  // 8 or 16
            for (long j = 0; j < LANES; j++) {
                const W* line = weight + (begin + i + j) * ins + 2 * k;
                if (here == LANES)
                    _mm512_store_si512(square + j * LANES, load_pairs(line));
                else
                    _mm256_store_si256(reinterpret_cast<__m256i*>(square + j * LANES), load_half(line));
            }
            transpose(square, LANES, LANES, turned);
            for (long j = 0; j < here; j++)
                _mm512_storeu_si512(to + (k + j) * width + i, _mm512_load_si512(turned + j * LANES));
        }
}

template <int ROWS, int COLUMNS>
inline void tile(const bf16* x, long size, const uint32_t* panel, bf16* out, long out_row) {
    __m512 sums[ROWS][COLUMNS];
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++) sums[m][n] = _mm512_setzero_ps();
    for (long k = 0; k < size / 2; k++) {
        __m512i columns[COLUMNS];
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++) columns[n] = _mm512_loadu_si512(panel + (k * COLUMNS + n) * LANES);
#pragma GCC unroll 16
        for (int m = 0; m < ROWS; m++) {
            int32_t both;
            std::memcpy(&both, x + m * size + 2 * k, sizeof both);
            const __m512i pair = _mm512_set1_epi32(both);
#pragma GCC unroll 4
            for (int n = 0; n < COLUMNS; n++)
                sums[m][n] = _mm512_dpbf16_ps(sums[m][n], (__m512bh)pair, (__m512bh)columns[n]);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++) store(out + m * out_row + n * LANES, sums[m][n]);
}

template <int COLUMNS>
void tiles(const bf16* x, long tokens, long size, const uint32_t* panel, bf16* out, long out_row) {
    long m = 0;
    for (; m + TILE <= tokens; m += TILE) tile<TILE, COLUMNS>(x + m * size, size, panel, out + m * out_row, out_row);
    for (; m < tokens; m++) tile<1, COLUMNS>(x + m * size, size, panel, out + m * out_row, out_row);
}

template <typename W>
void multiply(const bf16* x, const W* weight, bf16* out, long tokens, long outs, long ins, bool is_forward, int threads) {
    const long size = is_forward ? ins : outs, columns = is_forward ? outs : ins, pairs = size / 2;
    const Buffer<uint32_t> packed(columns * pairs);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (long begin = 0; begin < columns; begin += PANEL)
            pack(weight, ins, is_forward, begin, std::min(PANEL, columns - begin), pairs, packed + begin * pairs);
#pragma omp for schedule(static)
        for (long part = 0; part < threads; part++) {
            const long units = (tokens + TILE - 1) / TILE;
            const long first = units * part / threads * TILE;
            const long count = std::min(units * (part + 1) / threads * TILE, tokens) - first;
            const bf16* mine = x + first * size;
            for (long begin = 0; begin < columns; begin += PANEL) {
                const uint32_t* panel = packed + begin * pairs;
                bf16* to = out + first * columns + begin;
                switch (std::min(PANEL, columns - begin) / LANES) {
                    case 4: tiles<4>(mine, count, size, panel, to, columns); break;
                    case 3: tiles<3>(mine, count, size, panel, to, columns); break;
                    case 2: tiles<2>(mine, count, size, panel, to, columns); break;
                    case 1: tiles<1>(mine, count, size, panel, to, columns); break;
                }
            }
        }
    }
}

}  // namespace

extern "C" {

// out (tokens × outs) = x (tokens × ins) · weightᵀ forward, out (tokens × ins) = x (tokens × outs) · weight otherwise;
// weight (outs × ins), both multiples of 16.
void product_bf16(const bf16* x, const bf16* weight, bf16* out, long tokens, long outs, long ins, int is_forward,
                  int threads) {
    multiply(x, weight, out, tokens, outs, ins, is_forward, threads);
}

void product_fp32(const bf16* x, const float* weight, bf16* out, long tokens, long outs, long ins, int is_forward,
                  int threads) {
    multiply(x, weight, out, tokens, outs, ins, is_forward, threads);
}
}
