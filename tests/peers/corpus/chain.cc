// The corpus's program in C++: a virtual method called from a lambda in a template writes to address 0.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <vector>

static volatile int calls;

namespace {

struct Target {
    virtual int hit(int value) = 0;
    virtual ~Target() = default;
};

struct Hole : Target {
    volatile int *where = nullptr;
    __attribute__((noinline)) int hit(int value) override {
        *where = value;
        return ++calls;
    }
};

inline __attribute__((always_inline)) int aim(Target &target, int value) {
    return target.hit(value) + calls;
}

}  // namespace

namespace work {

template <typename T>
struct Sorter {
    std::function<int(T, T)> less;

    __attribute__((noinline)) int run(std::vector<T> numbers) {
        std::sort(numbers.begin(), numbers.end(),
                  [this](T one, T other) { return less(one, other) != 0; });
        return static_cast<int>(numbers[0]) + calls;
    }
};

}  // namespace work

__attribute__((noinline)) static int twice(int depth, Target &target) {
    if (depth)
        return twice(depth - 1, target) + calls;
    work::Sorter<long> sorter{[&target](long one, long other) {
        if (++calls > 3)
            return aim(target, calls) + 1;
        return static_cast<int>(one < other);
    }};
    return sorter.run({5, 2, 9, 1, 7, 3, 8}) + calls;
}

static void *idle(void *nothing) {
    pause();
    return nothing;
}

int main() {
    Hole hole;
    pthread_t other;
    pthread_create(&other, nullptr, idle, nullptr);
    return twice(2, hole) + calls;
}
