// The softmax over the vocabulary of a few positions: loss, sample, figures and gradient while a row is in the cache.
#include "buffer.h"
#include "common.h"

#include <algorithm>
#include <vector>

using namespace electrify;

extern "C" struct VocabularyArguments {
    long positions, vocab_size;  // p, V
    double temperature;          // of the samples
    int excludes_target, needs_gradient, wants_figures;
    bf16* logits;            // (p, V) without bias; overwritten by the loss's gradient if it is needed
    const float* bias;       // (V)
    const int64_t* targets;  // (p)
    const double* uniforms;  // (p) in (0, 1)
    float* losses;           // (p)
    int64_t* samples;        // (p)
    int64_t* best;           // (p) or null
    float* entropy;          // (p) or null
    float* bias_grad;        // (threads, V), added to
    int threads;
};

namespace {

constexpr long CHUNK = 512;  // tokens whose weights are summed before the sample is looked for among them
constexpr long GROUP = 4;    // positions whose gradients are added to the bias's in one pass
constexpr float LOWEST = -1e30f;

// One position: its scores to the base of 2 (times log2 e), sixteen at a time, and what is made of them.
struct Row {
    const VocabularyArguments& of;
    bf16* logits;
    float* powers;  // (V), up to whole vectors: first scores, then 2 to the power of their distance from the highest
    const long target;
    float share;  // 1 / sum of powers

    Row(const VocabularyArguments& arguments, long position, float* buffer)
        : of(arguments), logits(arguments.logits + position * arguments.vocab_size), powers(buffer),
          target(arguments.targets[position]), share(0) {}

    __mmask16 mask(long i) const {
        const long left = of.vocab_size - i;
        return left >= LANES ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
    }

    __m512 score(long i, __mmask16 mask) const {
        const __m256i half = _mm256_maskz_loadu_epi16(mask, logits + i);
        const __m512 value = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
        const __m512 sum = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, of.bias + i));
        return _mm512_mask_mul_ps(_mm512_set1_ps(LOWEST), mask, sum, _mm512_set1_ps(LOG2_E));
    }

    float target_score() const {
        return _mm512_cvtss_f32(score(target, 1));
    }

    // Fills in the scores.
    float highest() const {
        __m512 top = _mm512_set1_ps(LOWEST);
        for (long i = 0; i < of.vocab_size; i += LANES) {
            const __m512 scores = score(i, mask(i));
            store(powers + i, scores);
            top = _mm512_max_ps(top, scores);
        }
        return _mm512_reduce_max_ps(top);
    }

    // The highest score of a token that may be drawn. Measured from an excluded one's, all weights could be rounded to 0.
    float highest_drawn(float top) const {
        if (!of.excludes_target || target_score() < top) return top;
        __m512 other = _mm512_set1_ps(LOWEST);
        for (long i = 0; i < of.vocab_size; i += LANES) {
            const bool is_here = target >= i && target < i + LANES;
            const __mmask16 allowed = is_here ? static_cast<__mmask16>(~(1u << (target - i))) : 0xFFFF;
            other = _mm512_mask_max_ps(other, allowed, other, load(powers + i));
        }
        return _mm512_reduce_max_ps(other);
    }

    // Proportional to the probability of being drawn.
    __m512 weight(long i, float top, float sharpness) const {
        const __m512 distance = _mm512_sub_ps(score(i, mask(i)), _mm512_set1_ps(top));
        __m512 result = electrify::exp2(_mm512_mul_ps(distance, _mm512_set1_ps(sharpness)));
        if (of.excludes_target && target >= i && target < i + LANES)
            result = _mm512_mask_mov_ps(result, static_cast<__mmask16>(1u << (target - i)), _mm512_setzero_ps());
        return result;
    }

    int64_t first_of(float value) const {
        for (long i = 0; i < of.vocab_size; i += LANES) {
            const __mmask16 equal = _mm512_cmp_ps_mask(score(i, mask(i)), _mm512_set1_ps(value), _CMP_EQ_OQ);
            if (equal) return i + __builtin_ctz(equal);
        }
        return 0;
    }

    // The token at which the running sum of weights passes a threshold.
    int64_t sample(const float* chunks, double threshold, float top, float sharpness) const {
        long chunk = 0;
        const long last = (of.vocab_size - 1) / CHUNK;
        while (chunk < last && threshold > chunks[chunk]) threshold -= chunks[chunk++];
        int64_t found = chunk * CHUNK;
        double running = 0;
        for (long i = chunk * CHUNK; i < std::min((chunk + 1) * CHUNK, of.vocab_size); i += LANES) {
            alignas(64) float weights[LANES];
            _mm512_store_ps(weights, weight(i, top, sharpness));
            for (long lane = 0; lane < LANES && i + lane < of.vocab_size; lane++) {
                running += weights[lane];
                if (weights[lane] > 0) found = i + lane;  // the sum may end just short of the threshold
                if (running >= threshold && weights[lane] > 0) return found;
            }
        }
        return found;
    }
};

// Everything about one position but the gradient.
void predict(Row& row, long position, float* chunks) {
    const VocabularyArguments& of = row.of;
    const float top = row.highest(), sharpness = static_cast<float>(1 / of.temperature);
    const float drawn_top = row.highest_drawn(top);
    const bool is_plain = of.temperature == 1.0 && !of.excludes_target;
    __m512 total = _mm512_setzero_ps(), moment = _mm512_setzero_ps();
    double drawn = 0;
    for (long start = 0; start < of.vocab_size; start += CHUNK) {
        __m512 sum = _mm512_setzero_ps(), weights = _mm512_setzero_ps();
        for (long i = start; i < std::min(start + CHUNK, of.vocab_size); i += LANES) {
            const __m512 distance = _mm512_sub_ps(load(row.powers + i), _mm512_set1_ps(top));
            const __m512 power = electrify::exp2(distance);
            store(row.powers + i, power);
            sum = _mm512_add_ps(sum, power);
            if (of.wants_figures) moment = _mm512_mask3_fmadd_ps(power, distance, moment, row.mask(i));
            if (!is_plain) weights = _mm512_add_ps(weights, row.weight(i, drawn_top, sharpness));
        }
        total = _mm512_add_ps(total, sum);
        chunks[start / CHUNK] = _mm512_reduce_add_ps(is_plain ? sum : weights);
        drawn += chunks[start / CHUNK];
    }
    const float all = _mm512_reduce_add_ps(total);
    of.samples[position] = row.sample(chunks, of.uniforms[position] * drawn, drawn_top, sharpness);
    of.losses[position] = std::log(all) + (top - row.target_score()) / LOG2_E;
    if (of.wants_figures) {
        of.best[position] = row.first_of(top);
        of.entropy[position] = std::log(all) - _mm512_reduce_add_ps(moment) / all / LOG2_E;
    }
    row.share = 1 / all;
}

// The gradients of a few positions: into their logits, and added to the bias's.
void differentiate(const std::vector<Row>& rows, float* bias_sum) {
    const VocabularyArguments& of = rows.front().of;
    for (const Row& row : rows) row.powers[row.target] -= 1 / row.share;  // their sum: the gradient is p - 1 there
    for (long i = 0; i < of.vocab_size; i += LANES) {
        const __mmask16 mask = rows.front().mask(i);
        __m512 sum = _mm512_maskz_loadu_ps(mask, bias_sum + i);
        for (const Row& row : rows) {
            const __m512 gradient = _mm512_mul_ps(load(row.powers + i), _mm512_set1_ps(row.share));
            _mm256_mask_storeu_epi16(row.logits + i, mask, to_bf16(gradient));
            sum = _mm512_add_ps(sum, gradient);
        }
        _mm512_mask_storeu_ps(bias_sum + i, mask, sum);
    }
}

void predict_some(const VocabularyArguments& of, long first, long last, float* bias_sum) {
    std::vector<float> chunks((of.vocab_size + CHUNK - 1) / CHUNK);
    const long padded = (of.vocab_size + LANES - 1) / LANES * LANES;
    const Buffer<float> powers(GROUP * padded);
    for (long from = first; from < last; from += GROUP) {
        std::vector<Row> rows;
        for (long i = from; i < std::min(from + GROUP, last); i++) {
            rows.emplace_back(of, i, powers + (i - from) * padded);
            predict(rows.back(), i, chunks.data());
        }
        if (of.needs_gradient) differentiate(rows, bias_sum);
    }
}

}  // namespace

extern "C" void predict_bf16(const VocabularyArguments* of) {
#pragma omp parallel for schedule(static) num_threads(of->threads)
    for (long part = 0; part < of->threads; part++)
        predict_some(*of, of->positions * part / of->threads, of->positions * (part + 1) / of->threads,
                     of->bias_grad + part * of->vocab_size);
}
