// What all kernels share: bfloat16 rows as vectors of 16 floats, exp, and the hash behind dropout.
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

// exp to about 2e-7, relative. Cephes' reduction: x = n ln 2 + r, then a polynomial in r.
static inline __m512 exp(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-110.0f));  // gives 0; below, the reduction has no digits left
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.442695041f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 sum = _mm512_set1_ps(1.0f / 720);
    for (const float coefficient : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(coefficient));
    return _mm512_scalef_ps(sum, n);
}

// The 64-bit mixer of `noise.fold`.
static inline uint64_t fold(uint64_t key, uint64_t value) {
    constexpr uint64_t GAMMA = 0x9E3779B97F4A7C15u;
    uint64_t x = (key ^ (value * GAMMA)) + GAMMA;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// Which elements dropout keeps: `noise.keep_mask`, sixteen at a time.
struct Keep {
    bool active;
    float scale;  // 1 / (1 - drop_prob)
    __m512i threshold, key_1, key_2;

    Keep(const int64_t* row_keys, long row, long site, double drop_prob) : active(row_keys && drop_prob > 0) {
        scale = active ? static_cast<float>(1 / (1 - drop_prob)) : 1.0f;
        if (!active) return;
        constexpr uint64_t DROPOUT = 4;  // noise.DROPOUT
        const uint64_t key = fold(fold(static_cast<uint64_t>(row_keys[row]), DROPOUT), static_cast<uint64_t>(site));
        threshold = _mm512_set1_epi32(static_cast<int32_t>(static_cast<int64_t>(drop_prob * 4294967296.0) - 2147483648));
        key_1 = _mm512_set1_epi32(static_cast<int32_t>(key));
        key_2 = _mm512_set1_epi32(static_cast<int32_t>(key >> 32));
    }

    // `first` numbers the first of sixteen neighbours: place on the last axis, + 2^13 per place on the one before it, ...
    __mmask16 operator()(uint32_t first) const {
        const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i number = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(first)), lanes);
        __m512i x = _mm512_add_epi32(_mm512_mullo_epi32(number, _mm512_set1_epi32(0x9E3779B1)), key_1);
        x = _mm512_xor_si512(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), key_2);
        x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x85EBCA6B));
        x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 13)), _mm512_set1_epi32(0xC2B2AE35));
        return _mm512_cmpge_epi32_mask(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), threshold);
    }

    __m512 apply(__m512 x, uint32_t first) const {
        return active ? _mm512_maskz_mul_ps((*this)(first), x, _mm512_set1_ps(scale)) : x;
    }
};

}  // namespace electrify
