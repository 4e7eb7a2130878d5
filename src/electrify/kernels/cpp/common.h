// What all kernels share: bfloat16 rows as vectors of 16 floats, powers of two, and the hash behind dropout.
//
// Compiled for AVX-512 with bfloat16 dot products; `library.py` loads it only where the processor has them.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>

namespace electrify {

using bf16 = uint16_t;  // the upper half of a float32
constexpr long LANES = 16;

static inline __m512 load(const float* from) { return _mm512_loadu_ps(from); }

static inline __m512 load(const bf16* from) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline __m256i to_bf16(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline void store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }

static inline void store(bf16* to, __m512 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), to_bf16(x)); }

// 2 to the x, to about 2e-7, relative: a power of two times a polynomial through Chebyshev's nodes on [-1/2, 1/2].
static inline __m512 exp2(__m512 x) {
    const __m512 n = _mm512_roundscale_ps(x, 8);
    const __m512 r = _mm512_sub_ps(x, n);
    __m512 sum = _mm512_set1_ps(0.00133908634f);
    for (const float coefficient : {0.00967603192f, 0.0555035711f, 0.240221075f, 0.693147188f, 1.00000008f})
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(coefficient));
    return _mm512_scalef_ps(sum, n);
}

constexpr float LOG2_E = 1.442695041f;

// The 64-bit mixer of `noise.fold`.
static inline uint64_t fold(uint64_t key, uint64_t value) {
    constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u;
    uint64_t x = (key ^ (value * GAMMA)) + GAMMA;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// Which elements dropout keeps: `noise.keep_mask`, thirty-two at a time.
struct Keep {
    bool active;
    float scale;  // 1 / (1 - drop_prob)
    uint32_t key_1;
    __m512i threshold, key_2;

    Keep(const int64_t* row_keys, long row, long site, double drop_prob) : active(row_keys && drop_prob > 0) {
        scale = active ? static_cast<float>(1 / (1 - drop_prob)) : 1.0f;
        if (!active) return;
        constexpr uint64_t DROPOUT = 4;  // noise.DROPOUT
        const uint64_t key = fold(fold(static_cast<uint64_t>(row_keys[row]), DROPOUT), static_cast<uint64_t>(site));
        const double limit = std::fmin(drop_prob * 65536 + 0.5, 65535);
        threshold = _mm512_set1_epi16(static_cast<int16_t>(static_cast<int32_t>(limit)));
        key_1 = static_cast<uint32_t>(key);
        key_2 = _mm512_set1_epi32(static_cast<int32_t>(key >> 32));
    }

    // `first` numbers the first of 32 neighbours, a multiple of 32: place on the last axis, + 2^13 per place on the one
    // before it, ... One hash decides about two neighbours, with 16 bits each.
    __mmask32 operator()(uint32_t first) const {
        constexpr uint32_t GAMMA = 0x9E3779B1u;
        const __m512i lanes = _mm512_mullo_epi32(
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            _mm512_set1_epi32(static_cast<int32_t>(GAMMA)));
        __m512i x = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>((first >> 1) * GAMMA + key_1)), lanes);
        x = _mm512_xor_si512(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), key_2);
        x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x85EBCA6B));
        x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 13)), _mm512_set1_epi32(0xC2B2AE35));
        return _mm512_cmpge_epu16_mask(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), threshold);
    }

    __m512 apply(__m512 x, __mmask16 kept) const { return _mm512_maskz_mul_ps(kept, x, _mm512_set1_ps(scale)); }
};

// Where the tokens stand that a kernel works on, for rows of `tokens` each: all of them, or those that `places` names.
struct Lines {
    const int64_t* places;  // counted through all rows; or null
    long tokens;

    long place(long line) const { return places ? places[line] : line; }
    long row(long line) const { return place(line) / tokens; }
    uint32_t first(long line) const { return static_cast<uint32_t>(place(line) % tokens) << 13; }  // number for `Keep`
};

// Calls work(i, kept) for each vector of a line of `size` neighbours, a multiple of 16; `first` numbers the first of them.
template <typename Work>
static inline void each_vector(const Keep& keep, uint32_t first, long size, Work work) {
    for (long i = 0; i < size; i += 2 * LANES) {
        const __mmask32 kept = keep.active ? keep(first + static_cast<uint32_t>(i)) : 0xFFFFFFFF;
        work(i, static_cast<__mmask16>(kept));
        if (i + LANES < size) work(i + LANES, static_cast<__mmask16>(kept >> LANES));
    }
}

}  // namespace electrify
