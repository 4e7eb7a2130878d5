// Softmax attention from the joint product of queries, keys and values: bias, rotary positions, masks and dropout
// included. A block of queries at a time meets only the keys that it may look at, so masks save work, and no (T, T)
// matrix leaves the cache. Backward computes the probabilities again from the logarithms of their sums.
#include <algorithm>
#include <cstring>
#include <vector>

#include "buffer.h"
#include "matrix.h"

using namespace electrify;

namespace {

constexpr long QUERIES = 32;  // in one block

inline long round_up(long n) { return (n + LANES - 1) / LANES * LANES; }

inline const uint32_t* pairs(const bf16* row) { return reinterpret_cast<const uint32_t*>(row); }

}  // namespace

extern "C" struct AttentionArguments {
    long rows, tokens, heads, head_size;  // B, T, A, D
    long window;                          // how far a token looks to each side; negative: everywhere
    long site;
    double drop_prob;
    const bf16* qkv;          // (B, T, 3, A, D)
    const float* bias;        // (3, A, D) or null
    const float *cos, *sin;   // (T, D / 2) each, or null
    const int32_t* segments;  // (B, T): tokens look only at their like; or null
    const int64_t* keys;      // (B) or null
    bf16* context;            // (B, T, A, D)
    float* log_sums;          // (B, T, A), to the base of 2
    const bf16* context_grad;  // backward only, as the three below
    bf16* qkv_grad;
    float* bias_grad;  // (3, A, D) or null
    int threads;
    const uint8_t* causal;  // (B): whether tokens look only at themselves and before; or null
    const int64_t* begins;  // (B + 1): where rows begin and the last ends, of T tokens at most; or null, all have T
};

namespace {

using Arguments = AttentionArguments;

inline long begin_of(const Arguments& of, long row) { return of.begins ? of.begins[row] : row * of.tokens; }

// One head of one row: its matrices as the products need them.
struct Head {
    const Arguments& of;
    const long row, head, size;
    const long first, tokens, padded;  // where the row begins; its tokens; the same, rounded up to whole vectors
    const float scale;
    const int32_t* segments;
    const bool causal;

    Head(const Arguments& arguments, long item)
        : of(arguments), row(item / arguments.heads), head(item % arguments.heads), size(arguments.head_size),
          first(begin_of(arguments, row)), tokens(begin_of(arguments, row + 1) - first), padded(round_up(tokens)),
          scale(1.0f / std::sqrt(static_cast<float>(arguments.head_size))),
          segments(arguments.segments ? arguments.segments + first : nullptr),
          causal(arguments.causal && arguments.causal[row]) {}

    long joint(long part, long token) const { return (((first + token) * 3 + part) * of.heads + head) * size; }
    long single(long token) const { return ((first + token) * of.heads + head) * size; }
    float& log_sum(long token) const { return of.log_sums[(first + token) * of.heads + head]; }

    // Asks the memory for a share of what will be read and, backward, written for this head. A head's lines lie as far
    // apart as a token is wide, which the processor does not foresee: without this it waits for a third of the time.
    void expect(long share, long shares) const {
        constexpr long LINE = 64 / sizeof(bf16);
        for (long t = tokens * share / shares; t < tokens * (share + 1) / shares; t++)
            for (long i = 0; i < size; i += LINE) {
                for (long part = 0; part < 3; part++) __builtin_prefetch(of.qkv + joint(part, t) + i, 0, 2);
                if (!of.context_grad) continue;
                __builtin_prefetch(of.context + single(t) + i, 0, 2);
                __builtin_prefetch(of.context_grad + single(t) + i, 0, 2);
                for (long part = 0; part < 3; part++) __builtin_prefetch(of.qkv_grad + joint(part, t) + i, 1, 2);
            }
    }

    // Queries (part 0), keys (1) or values (2) with bias and rotation, (count, size); zeros past the last token.
    void read(long part, long from, long count, bf16* to) const {
        const float* bias = of.bias ? of.bias + (part * of.heads + head) * size : nullptr;
        const bool turns = of.cos && part < 2;
        const long half = turns ? size / 2 : size;
        const long end = std::max(from, std::min(from + count, tokens));
        std::memset(to + (end - from) * size, 0, sizeof(bf16) * (from + count - end) * size);
        for (long t = from; t < end; t++, to += size) {
            const bf16* source = of.qkv + joint(part, t);
            for (long i = 0; i < half; i += LANES) {
                __m512 first = load(source + i);
                if (bias) first = _mm512_add_ps(first, load(bias + i));
                if (turns) {
                    __m512 second = load(source + half + i);
                    if (bias) second = _mm512_add_ps(second, load(bias + half + i));
                    const __m512 cos = load(of.cos + t * half + i), sin = load(of.sin + t * half + i);
                    store(to + half + i, _mm512_fmadd_ps(second, cos, _mm512_mul_ps(first, sin)));
                    first = _mm512_fmsub_ps(first, cos, _mm512_mul_ps(second, sin));
                }
                store(to + i, first);
            }
        }
    }

    // The gradient of `read`'s result back to the joint product; adds to the sum of the bias's gradient.
    void write(long part, long from, long count, const float* gradient, float* bias_sum) const {
        float* sum = bias_sum + (part * of.heads + head) * size;
        const bool turns = of.cos && part < 2;
        const long half = turns ? size / 2 : size;
        const long end = std::min(from + count, tokens);
        for (long i = 0; i < half; i += LANES) {
            __m512 first_sum = load(sum + i), second_sum = _mm512_setzero_ps();
            for (long t = from; t < end; t++) {
                const float* line = gradient + (t - from) * size;
                bf16* target = of.qkv_grad + joint(part, t);
                __m512 first = load(line + i);
                if (turns) {
                    const __m512 second = load(line + half + i);
                    const __m512 cos = load(of.cos + t * half + i), sin = load(of.sin + t * half + i);
                    const __m512 turned = _mm512_fmsub_ps(second, cos, _mm512_mul_ps(first, sin));
                    first = _mm512_fmadd_ps(first, cos, _mm512_mul_ps(second, sin));
                    store(target + half + i, turned);
                    second_sum = _mm512_add_ps(second_sum, turned);
                }
                store(target + i, first);
                first_sum = _mm512_add_ps(first_sum, first);
            }
            store(sum + i, first_sum);
            if (turns) store(sum + half + i, _mm512_add_ps(load(sum + half + i), second_sum));
        }
    }

    // The keys that a block of queries may look at, to whole vectors; the first is a multiple of 32, for dropout.
    void range(long from, long to, long& begin, long& end) const {
        begin = 0, end = tokens;
        if (of.window >= 0) begin = std::max(0L, from - of.window), end = std::min(tokens, to + of.window);
        if (causal) end = std::min(end, to);
        if (segments) {
            const auto [lowest, highest] = std::minmax_element(segments + from, segments + to);
            while (segments[begin] < *lowest || segments[begin] > *highest) begin++;
            while (segments[end - 1] < *lowest || segments[end - 1] > *highest) end--;
        }
        begin = begin / (2 * LANES) * (2 * LANES);
        end = round_up(end);
    }

    // Which of sixteen keys a query may look at.
    __mmask16 allowed(long query, long key) const {
        const __m512i places = _mm512_add_epi32(
            _mm512_set1_epi32(static_cast<int32_t>(key)),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        __mmask16 mask = _mm512_cmplt_epi32_mask(places, _mm512_set1_epi32(static_cast<int32_t>(tokens)));
        if (of.window >= 0) {
            const __m512i distance = _mm512_abs_epi32(
                _mm512_sub_epi32(places, _mm512_set1_epi32(static_cast<int32_t>(query))));
            mask &= _mm512_cmple_epi32_mask(distance, _mm512_set1_epi32(static_cast<int32_t>(of.window)));
        }
        if (causal) {  // of a window, so many tokens in all, the query's among them
            mask &= _mm512_cmple_epi32_mask(places, _mm512_set1_epi32(static_cast<int32_t>(query)));
            const long first = of.window < 0 ? 0 : query - std::max(of.window, 1L) + 1;
            mask &= _mm512_cmpge_epi32_mask(places, _mm512_set1_epi32(static_cast<int32_t>(first)));
        }
        if (segments) {
            const __m512i theirs = _mm512_maskz_loadu_epi32(mask, segments + key);
            mask = _mm512_mask_cmpeq_epi32_mask(mask, theirs, _mm512_set1_epi32(segments[query]));
        }
        return mask;
    }

    bool is_masked(long end) const { return segments || causal || of.window >= 0 || end > tokens; }
    uint32_t number(long query, long key) const {
        return static_cast<uint32_t>(key) + (static_cast<uint32_t>(query) << 13) + (static_cast<uint32_t>(head) << 26);
    }
};

// Scores of one query to dropped-out weights that are still to be multiplied by `inverse`; returns the logarithm of
// their sum, to the base of 2.
template <bool MASKED, bool DROPS>
float softmax_line(const Head& head, const Keep keep, long query, long begin, long end, float* line, bf16* result,
                   float& inverse) {
    __m512 highest = _mm512_set1_ps(-1e30f);
    for (long j = begin; j < end; j += LANES) {
        if (MASKED)
            store(line + j, _mm512_mask_mov_ps(_mm512_set1_ps(-1e30f), head.allowed(query, j), load(line + j)));
        highest = _mm512_max_ps(highest, load(line + j));
    }
    const float sharpness = head.scale * LOG2_E, top = _mm512_reduce_max_ps(highest) * sharpness;
    __m512 sum = _mm512_setzero_ps();
    each_vector(keep, head.number(query, begin), end - begin, [&](long i, __mmask16 kept) {
        const __m512 power = _mm512_fmsub_ps(load(line + begin + i), _mm512_set1_ps(sharpness), _mm512_set1_ps(top));
        const __m512 weight = electrify::exp2(power);
        sum = _mm512_add_ps(sum, weight);
        store(result + begin + i, DROPS ? keep.apply(weight, kept) : weight);
    });
    const float total = _mm512_reduce_add_ps(sum);
    inverse = 1.0f / total;
    return top + std::log2(total);
}

auto choose(bool is_masked, bool drops) {
    return is_masked ? (drops ? softmax_line<true, true> : softmax_line<true, false>)
                     : (drops ? softmax_line<false, true> : softmax_line<false, false>);
}

// What the backward pass makes of the scores and slopes (products of gradients and values) of a block of queries.
struct Block {
    const float *scores, *slopes, *log_sums, *inner;
    bf16* score_grad;                      // (QUERIES, padded)
    uint32_t *weight_pairs, *score_pairs;  // (QUERIES / 2, padded)
};

template <bool MASKED, bool DROPS>
void backward_block(const Head& head, const Keep keep, long from, long count, long begin, long end, const Block of) {
    const long padded = head.padded, last = head.tokens - 1;
    const __m512 scale = _mm512_set1_ps(head.scale), sharpness = _mm512_set1_ps(head.scale * LOG2_E);
    for (long i = 0; i < count; i += 2) {
        const __m512 log_sums[2] = {_mm512_set1_ps(of.log_sums[i]), _mm512_set1_ps(of.log_sums[i + 1])};
        const __m512 inner[2] = {_mm512_set1_ps(of.inner[i]), _mm512_set1_ps(of.inner[i + 1])};
        for (long j = begin; j < end; j += 2 * LANES) {
            __mmask32 kept[2] = {0xFFFFFFFF, 0xFFFFFFFF};
            if (DROPS) kept[0] = keep(head.number(from + i, j)), kept[1] = keep(head.number(from + i + 1, j));
            for (long k = j; k < std::min(j + 2 * LANES, end); k += LANES) {
                __m256i weights[2], grads[2];
#pragma GCC unroll 2
                for (int which = 0; which < 2; which++) {
                    const long query = from + i + which, at = (i + which) * padded + k - begin;
                    __m512 weight =
                        electrify::exp2(_mm512_fmsub_ps(load(of.scores + at), sharpness, log_sums[which]));
                    if (MASKED) weight = _mm512_maskz_mov_ps(head.allowed(std::min(query, last), k), weight);
                    __m512 slope = load(of.slopes + at), dropped = weight;
                    if (DROPS) {
                        const auto mask = static_cast<__mmask16>(kept[which] >> (k - j));
                        slope = keep.apply(slope, mask);
                        dropped = keep.apply(weight, mask);
                    }
                    const __m512 gradient =
                        _mm512_mul_ps(_mm512_mul_ps(weight, scale), _mm512_sub_ps(slope, inner[which]));
                    weights[which] = to_bf16(dropped);
                    grads[which] = to_bf16(gradient);
                    _mm256_storeu_si256(reinterpret_cast<__m256i*>(of.score_grad + at), grads[which]);
                }
                const long at = i / 2 * padded + k - begin;
                _mm512_storeu_si512(of.weight_pairs + at, interleave(weights[0], weights[1]));
                _mm512_storeu_si512(of.score_pairs + at, interleave(grads[0], grads[1]));
            }
        }
    }
}

auto choose_backward(bool is_masked, bool drops) {
    return is_masked ? (drops ? backward_block<true, true> : backward_block<true, false>)
                     : (drops ? backward_block<false, true> : backward_block<false, false>);
}

void forward(const Arguments& of, long first, long last) {
    const long size = of.head_size, most = round_up(of.tokens);
    const Buffer<bf16> matrix(most * size), queries(QUERIES * size), probabilities(QUERIES * most);
    const Buffer<uint32_t> keys(most * size / 2), values(most * size / 2);
    const Buffer<float> scores(QUERIES * most), out(QUERIES * size);
    for (long item = first; item < last; item++) {
        const Head head(of, item), next(of, std::min(item + 1, last - 1));
        const Keep keep(of.keys, head.row, of.site, of.drop_prob);
        const long padded = head.padded;
        head.read(1, 0, padded, matrix);
        transpose(pairs(matrix), padded, size / 2, keys);
        head.read(2, 0, padded, matrix);
        pair_rows(matrix, padded, size, values);
        for (long from = 0; from < head.tokens; from += QUERIES) {
            const long to = std::min(from + QUERIES, head.tokens), count = round_up(to - from);
            long begin, end;
            head.range(from, to, begin, end);
            next.expect(from / QUERIES, (head.tokens + QUERIES - 1) / QUERIES);
            head.read(0, from, QUERIES, queries);
            multiply(pairs(queries), size / 2, 1, keys + begin, padded, count, end - begin, size / 2, scores, padded,
                     false);
            float inverse[QUERIES];
            const auto softmax = choose(head.is_masked(end), keep.active);
            for (long i = 0; i < to - from; i++) {
                float* line = scores + i * padded - begin;
                bf16* result = probabilities + i * padded - begin;
                const float log_sum = softmax(head, keep, from + i, begin, end, line, result, inverse[i]);
                head.log_sum(from + i) = log_sum;
            }
            multiply(pairs(probabilities), padded / 2, 1, values + begin / 2 * size, size, count, size,
                     (end - begin) / 2, out, size, false);
            for (long i = 0; i < to - from; i++)
                for (long d = 0; d < size; d += LANES)
                    store(of.context + head.single(from + i) + d,
                          _mm512_mul_ps(load(out + i * size + d), _mm512_set1_ps(inverse[i])));
        }
    }
}

void backward(const Arguments& of, long first, long last, float* bias_sum) {
    const long size = of.head_size, most = round_up(of.tokens);
    const Buffer<bf16> matrix(most * size), queries(QUERIES * size), gradients(QUERIES * size);
    const Buffer<uint32_t> keys(most * size / 2), key_rows(most * size / 2), values(most * size / 2);
    const Buffer<uint32_t> query_rows(QUERIES * size / 2), gradient_rows(QUERIES * size / 2);
    const Buffer<float> scores(QUERIES * most), slopes(QUERIES * most), out(QUERIES * size);
    const Buffer<bf16> score_grad(QUERIES * most);
    const Buffer<uint32_t> weight_pairs(QUERIES / 2 * most), score_pairs(QUERIES / 2 * most);
    const Buffer<float> key_grad(most * size), value_grad(most * size);
    gradients.clear(QUERIES * size);
    for (long item = first; item < last; item++) {
        const Head head(of, item), next(of, std::min(item + 1, last - 1));
        const Keep keep(of.keys, head.row, of.site, of.drop_prob);
        const long padded = head.padded;
        head.read(1, 0, padded, matrix);
        transpose(pairs(matrix), padded, size / 2, keys);
        pair_rows(matrix, padded, size, key_rows);
        head.read(2, 0, padded, matrix);
        transpose(pairs(matrix), padded, size / 2, values);
        key_grad.clear(padded * size);
        value_grad.clear(padded * size);
        for (long from = 0; from < head.tokens; from += QUERIES) {
            const long to = std::min(from + QUERIES, head.tokens), count = round_up(to - from);
            long begin, end;
            head.range(from, to, begin, end);
            next.expect(from / QUERIES, (head.tokens + QUERIES - 1) / QUERIES);
            if (to - from < count) gradients.clear(QUERIES * size);
            head.read(0, from, QUERIES, queries);
            float inner[QUERIES] = {}, log_sum[QUERIES];
            std::fill(log_sum, log_sum + QUERIES, 1e30f);  // past the last token: weights of 0
            for (long i = 0; i < to - from; i++) {
                const bf16 *gradient = of.context_grad + head.single(from + i), *value = of.context + head.single(from + i);
                __m512 sum = _mm512_setzero_ps();
                for (long d = 0; d < size; d += LANES) sum = _mm512_fmadd_ps(load(gradient + d), load(value + d), sum);
                std::memcpy(gradients + i * size, gradient, sizeof(bf16) * size);
                inner[i] = _mm512_reduce_add_ps(sum);
                log_sum[i] = head.log_sum(from + i);
            }
            pair_rows(queries, count, size, query_rows);
            pair_rows(gradients, count, size, gradient_rows);
            multiply(pairs(queries), size / 2, 1, keys + begin, padded, count, end - begin, size / 2, scores, padded,
                     false);
            multiply(pairs(gradients), size / 2, 1, values + begin, padded, count, end - begin, size / 2, slopes,
                     padded, false);
            const auto work = choose_backward(head.is_masked(end), keep.active);
            work(head, keep, from, count, begin, end,
                 {scores, slopes, log_sum, inner, score_grad, weight_pairs, score_pairs});
            multiply(weight_pairs, 1, padded, gradient_rows, size, end - begin, size, count / 2,
                     value_grad + begin * size, size, true);
            multiply(score_pairs, 1, padded, query_rows, size, end - begin, size, count / 2, key_grad + begin * size,
                     size, true);
            multiply(pairs(score_grad), padded / 2, 1, key_rows + begin / 2 * size, size, count, size,
                     (end - begin) / 2, out, size, false);
            head.write(0, from, QUERIES, out, bias_sum);
        }
        head.write(1, 0, head.tokens, key_grad, bias_sum);
        head.write(2, 0, head.tokens, value_grad, bias_sum);
    }
}

// The first heads of the first rows that hold so large a part of all tokens, as items of `Head`.
long first_item(const Arguments& of, long part) {
    if (!of.begins) return of.rows * of.heads * part / of.threads;
    if (part == of.threads) return of.rows * of.heads;
    const long wanted = of.begins[of.rows] * of.heads * part / of.threads;
    const long row = std::upper_bound(of.begins, of.begins + of.rows, wanted / of.heads) - of.begins - 1;
    const long tokens = begin_of(of, row + 1) - begin_of(of, row);
    return row * of.heads + (tokens ? (wanted - begin_of(of, row) * of.heads) / tokens : 0);
}

}  // namespace

extern "C" {

void attention_bf16(const AttentionArguments* of) {
#pragma omp parallel for schedule(static) num_threads(of->threads)
    for (long part = 0; part < of->threads; part++) forward(*of, first_item(*of, part), first_item(*of, part + 1));
}

void attention_backward_bf16(const AttentionArguments* of) {
    const long width = 3 * of->heads * of->head_size;
    std::vector<float> partial(static_cast<size_t>(of->threads) * width, 0.0f);
#pragma omp parallel for schedule(static) num_threads(of->threads)
    for (long part = 0; part < of->threads; part++)
        backward(*of, first_item(*of, part), first_item(*of, part + 1), partial.data() + part * width);
    if (!of->bias_grad) return;
    std::memset(of->bias_grad, 0, sizeof(float) * width);
    for (int part = 0; part < of->threads; part++)
        for (long i = 0; i < width; i++) of->bias_grad[i] += partial[part * width + i];
}
}
