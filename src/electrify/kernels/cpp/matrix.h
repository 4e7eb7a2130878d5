// Products of small bfloat16 matrices that lie in the cache, accumulated in float32.
//
// A dot-product instruction takes pairs of bfloat16 along the summed dimension. Matrices are therefore arrays of pairs
// (uint32): the left one is read pair by pair with any strides, the right one as rows of pairs.
#pragma once

#include "common.h"

namespace electrify {

// C (ROWS × 16 COLUMNS) = or += left · right, for one tile that stays in registers.
template <int ROWS, int COLUMNS>
static inline void multiply_tile(const uint32_t* left, long row, long step, const uint32_t* right, long right_row,
                                 long pairs, float* out, long out_row, bool accumulate) {
    __m512 sums[ROWS][COLUMNS];
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++)
            sums[m][n] = accumulate ? _mm512_loadu_ps(out + m * out_row + n * LANES) : _mm512_setzero_ps();
    for (long k = 0; k < pairs; k++) {
        __m512i columns[COLUMNS];
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++) columns[n] = _mm512_loadu_si512(right + k * right_row + n * LANES);
#pragma GCC unroll 16
        for (int m = 0; m < ROWS; m++) {
            const __m512i pair = _mm512_set1_epi32(static_cast<int32_t>(left[m * row + k * step]));
#pragma GCC unroll 4
            for (int n = 0; n < COLUMNS; n++)
                sums[m][n] = _mm512_dpbf16_ps(sums[m][n], (__m512bh)pair, (__m512bh)columns[n]);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < COLUMNS; n++) _mm512_storeu_ps(out + m * out_row + n * LANES, sums[m][n]);
}

// C (rows × columns) = or += left · right.
//
// left: pair k of row m at left[m · row + k · step]; right: pair k of column n at right[k · right_row + n];
// rows and columns are multiples of 16.
static inline void multiply(const uint32_t* left, long row, long step, const uint32_t* right, long right_row,
                            long rows, long columns, long pairs, float* out, long out_row, bool accumulate) {
    long n = 0;
    for (; n + 4 * LANES <= columns; n += 4 * LANES)
        for (long m = 0; m < rows; m += 4)
            multiply_tile<4, 4>(left + m * row, row, step, right + n, right_row, pairs, out + m * out_row + n, out_row,
                                accumulate);
    for (; n + 2 * LANES <= columns; n += 2 * LANES)
        for (long m = 0; m < rows; m += 8)
            multiply_tile<8, 2>(left + m * row, row, step, right + n, right_row, pairs, out + m * out_row + n, out_row,
                                accumulate);
    for (; n < columns; n += LANES)
        for (long m = 0; m < rows; m += 16)
            multiply_tile<16, 1>(left + m * row, row, step, right + n, right_row, pairs, out + m * out_row + n, out_row,
                                 accumulate);
}

// The pairs of two neighbouring rows: (a[i], b[i]) for sixteen i.
static inline __m512i interleave(__m256i a, __m256i b) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// Rows of a (rows × size) matrix to pairs along the rows, (rows / 2 × size) pairs; both sizes are even.
static inline void pair_rows(const bf16* from, long rows, long size, uint32_t* to) {
    for (long j = 0; j < rows; j += 2)
        for (long i = 0; i < size; i += LANES) {
            const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + j * size + i));
            const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + (j + 1) * size + i));
            _mm512_storeu_si512(to + j / 2 * size + i, interleave(a, b));
        }
}

// A (rows × columns) matrix of pairs to its transpose; both are multiples of 16.
static inline void transpose(const uint32_t* from, long rows, long columns, uint32_t* to) {
    alignas(64) static const int32_t low[4][16] = {
        {0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30},
        {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
        {0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
        {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}};
    for (long r = 0; r < rows; r += LANES)
        for (long c = 0; c < columns; c += LANES) {
            __m512i lines[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) lines[i] = _mm512_loadu_si512(from + (r + i) * columns + c);
#pragma GCC unroll 4
            for (int level = 0; level < 4; level++) {  // swap blocks of 1, 2, 4, 8 off the diagonal
                const int distance = 1 << level;
                const __m512i keep = _mm512_load_si512(low[level]);
                const __m512i swap = _mm512_add_epi32(keep, _mm512_set1_epi32(distance));
#pragma GCC unroll 16
                for (int i = 0; i < 16; i++)
                    if (!(i & distance)) {
                        const __m512i a = lines[i], b = lines[i + distance];
                        lines[i] = _mm512_permutex2var_epi32(a, keep, b);
                        lines[i + distance] = _mm512_permutex2var_epi32(a, swap, b);
                    }
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (c + i) * rows + r, lines[i]);
        }
}

}  // namespace electrify
