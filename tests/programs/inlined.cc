/* crash-test
about = "C++: namespaces, templates and lambdas, inlined"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["shop::Till<int>::add", "*operator*", "*twice<*>", "shop::serve", "main"]
[builds.o2]
flags = "-g -O2 -std=c++17"
[builds.o0]
flags = "-g -O0 -std=c++17"
frames = ["shop::Till<int>::add", "*operator*", "*twice<*>", "shop::serve", "main"]
[builds.no-debug]
flags = "-O0 -std=c++17"
frames = ["shop::Till<int>::add", "*operator*", "*twice<*>", "shop::serve", "main"]
[builds.dwarf4]
flags = "-gdwarf-4 -O2 -std=c++17"
*/
#include <utility>

namespace shop {

template <typename Number>
struct Till {
    Number *total = nullptr;
    __attribute__((noinline)) void add(Number value) {
        *static_cast<volatile Number *>(total) = value;
        __asm__ volatile("" ::: "memory");
    }
};

namespace {
template <typename Action>
inline void twice(Action &&action) {
    action(1);
    action(2);
}
}  // namespace

__attribute__((noinline)) int serve(Till<int> &till) {
    twice([&till](int value) { till.add(value); });
    return 1;
}

}  // namespace shop

int main() {
    shop::Till<int> till;
    int result = shop::serve(till);
    __asm__ volatile("" ::: "memory");
    return result;
}
