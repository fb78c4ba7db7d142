/* Templates, an anonymous namespace, and exceptions that pass frames: caught ones before the crash
 * ("caught": the handler crashes), or one that nobody catches ("uncaught"). */
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#define KEEP __attribute__((noinline, noclone))
#define HERE __asm__ volatile("") /* no call before it becomes a jump */

static int *volatile nowhere = (int *)16;

namespace {

template <typename Value> struct Shelf {
    std::vector<Value> values;
    KEEP int throws(const std::string &name);
    KEEP int fetch(const std::string &name);
};

template <typename Value> int Shelf<Value>::throws(const std::string &name) {
    if (values.empty()) throw std::out_of_range(name);
    HERE;
    return 0;
}

template <typename Value> int Shelf<Value>::fetch(const std::string &name) {
    std::vector<std::string> destroyed(3, name);
    int result = throws(destroyed[1]);
    HERE;
    return result + (int)destroyed.size();
}

template <int Step, typename Callable> KEEP int repeat(Callable callable) {
    int result = callable(Step) + Step;
    HERE;
    return result;
}

KEEP int faults(int value) {
    HERE;
    return *nowhere + value;
}

}  // namespace

KEEP int caught(const char *name) {
    Shelf<unsigned char> shelf;
    try {
        return shelf.fetch(name);
    } catch (const std::out_of_range &error) {
        int result = repeat<3>([&](int step) {
            int found = faults(step);
            HERE;
            return found;
        });
        HERE;
        return result;
    }
}

KEEP int uncaught(const char *name) {
    Shelf<double> shelf;
    int result = shelf.fetch(name);
    HERE;
    return result;
}

int main(int count, char **words) {
    const char *how = count > 1 ? words[1] : "caught";
    int result = strcmp(how, "caught") ? uncaught(how) : caught(how);
    HERE;
    return result;
}
