/* crash-test
about = "a C++ exception that nobody catches"
signal = "SIGABRT"
cause = "abort"
reason = "uncaught-exception"
frames = ["...", "std::terminate", "__cxa_throw", "throw_it", "main"]
flags = "-g -O1"
*/
#include <stdexcept>

__attribute__((noinline)) int throw_it(int value) {
    if (value) throw std::runtime_error("the shelf is empty");
    __asm__ volatile("" ::: "memory");
    return value;
}

int main() {
    int value = throw_it(1);
    __asm__ volatile("" ::: "memory");
    return value;
}
