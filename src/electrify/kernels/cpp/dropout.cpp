// Dropout whose choices are hashes, for tensors that no other kernel works on.
#include "common.h"

using namespace electrify;

namespace {

// (rows, lines, size): an element's number is its place on the last axis, + 2^13 for each place on the one before it.
template <typename T>
void drop(const T* x, const int64_t* keys, long site, double drop_prob, T* out, long rows, long lines, long size,
          int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long line = 0; line < rows * lines; line++) {
        const Keep keep(keys, line / lines, site, drop_prob);
        const uint32_t first = static_cast<uint32_t>(line % lines) << 13;
        each_vector(keep, first, size, [&](long i, __mmask16 kept) {
            store(out + line * size + i, keep.apply(load(x + line * size + i), kept));
        });
    }
}

}  // namespace

extern "C" {

// Goes up when functions change or random numbers do: `library.py` leaves libraries of another edition out.
int kernels_edition() { return 4; }

void dropout_bf16(const bf16* x, const int64_t* keys, long site, double drop_prob, bf16* out, long rows, long lines,
                  long size, int threads) {
    drop<bf16>(x, keys, site, drop_prob, out, rows, lines, size, threads);
}

void dropout_fp32(const float* x, const int64_t* keys, long site, double drop_prob, float* out, long rows, long lines,
                  long size, int threads) {
    drop<float>(x, keys, site, drop_prob, out, rows, lines, size, threads);
}
}
