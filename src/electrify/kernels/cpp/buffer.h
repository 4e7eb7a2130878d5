// Memory for one call, aligned to the cache's lines.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>

namespace electrify {

template <typename T>
struct Buffer {
    std::unique_ptr<T, decltype(&std::free)> memory;
    explicit Buffer(long size) : memory(nullptr, &std::free) {
        const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 63) / 64 * 64;
        memory.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    }
    void clear(long size) const { std::memset(memory.get(), 0, static_cast<size_t>(size) * sizeof(T)); }
    operator T*() const { return memory.get(); }
};

}  // namespace electrify
