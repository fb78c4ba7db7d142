// Ways of C++ programs to die; `ways WORD` dies that way, `ways WORD thread` in another thread.
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

static volatile int sink;
static void *volatile hidden;

namespace library {

struct closed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct lost : std::exception {
    explicit lost(std::string what) : what_(std::move(what)) {}
    const char *what() const noexcept override { return what_.c_str(); }
    std::string what_;
};

struct renamed : std::runtime_error {
    using std::runtime_error::runtime_error;
    const char *what() const noexcept override { return "the new name"; }
};

struct fine {
    int amount;
};

struct shelf {
    shelf() { fill(); }
    virtual ~shelf() = default;
    virtual int room() const = 0;
    [[gnu::noinline]] void fill() { size = room(); }
    int size = 0;
};

struct oak : shelf {
    int room() const override { return 3; }
    std::string name;
};

struct reader {
    virtual ~reader() = default;
    virtual void read() { sink = 1; }
};

} // namespace library

#define WAY [[gnu::noinline]] static void

WAY runtime_error() { throw std::runtime_error("no such shelf: 12"); }
WAY logic_error() { throw std::logic_error("a book twice"); }
WAY own_exception() { throw library::closed("the library is closed until Monday morning at nine"); }
WAY own_struct() { throw library::fine{25}; }
WAY thrown_text() { throw "shelf is full"; }
WAY thrown_string() { throw std::string("shelf"); }
WAY thrown_number() { throw -42; }
WAY out_of_range()
{
    std::vector<int> numbers(3);
    sink = numbers.at(7 + sink);
}
WAY bad_alloc() { hidden = ::operator new(std::size_t(1) << 62); }
WAY system_error() { throw std::system_error(ENOENT, std::generic_category(), "catalogue"); }
WAY rethrown()
{
    try {
        throw std::range_error("page 1000 of 12");
    } catch (const std::exception &) {
        throw;
    }
}
[[gnu::noinline]] static void promise() noexcept { throw std::runtime_error("promised not to"); }
WAY through_noexcept() { promise(); }
// One exception was caught and is done with before the one that ends the program.
WAY second_exception()
{
    try {
        throw std::runtime_error("the first one, which was caught");
    } catch (const std::runtime_error &) {
    }
    throw std::runtime_error("the second one");
}
WAY terminated() { std::terminate(); }
WAY own_text() { throw library::lost("the second volume of three, in oak"); }
WAY other_words() { throw library::renamed("the old name"); }
WAY out_of_handler()
{
    try {
        throw std::runtime_error("the first one, which is handled");
    } catch (const std::exception &) {
        throw std::logic_error("while that was handled");
    }
}
// One that was caught is still there, and pointed to from the stack.
[[gnu::noinline]] static std::exception_ptr keep()
{
    try {
        throw std::runtime_error("kept, and done with");
    } catch (...) {
        return std::current_exception();
    }
}
WAY kept()
{
    std::exception_ptr one = keep();
    hidden = &one;
    throw std::range_error("the real one");
}
WAY nested()
{
    try {
        throw std::runtime_error("inner");
    } catch (...) {
        std::throw_with_nested(std::logic_error("outer"));
    }
}
WAY nothing_again() { throw; }
WAY terminated_in_handler()
{
    try {
        throw std::runtime_error("being handled");
    } catch (...) {
        std::terminate();
    }
}
WAY terminated_after()
{
    std::exception_ptr one = keep();
    hidden = &one;
    std::terminate();
}
WAY assigned_thread()
{
    std::thread one([] { std::this_thread::sleep_for(std::chrono::hours(1)); });
    one = std::thread([] {});
}
WAY checked_index()
{
    std::vector<int> numbers(3);
    sink = numbers[7 + sink];
}
WAY checked_pointer()
{
    std::unique_ptr<int> none;
    hidden = &none;
    sink = *none;
}
WAY running_thread() { std::thread([] { std::this_thread::sleep_for(std::chrono::hours(1)); }); }
WAY pure_virtual() { library::oak oak; }
WAY null_object()
{
    auto *oak = static_cast<library::oak *>(hidden);
    sink = oak->name.size();
}
WAY freed_object()
{
    auto *volatile one = new library::reader;
    delete one;
    one->read();
}
WAY null_dynamic()
{
    auto *shelf = static_cast<library::shelf *>(hidden);
    sink = shelf->room();
}

int main(int count, char **words)
{
    static const struct {
        const char *name;
        void (*die)();
    } ways[] = {
#define NAMED(name) {#name, name}
        NAMED(runtime_error), NAMED(logic_error), NAMED(own_exception), NAMED(own_struct),
        NAMED(thrown_text), NAMED(thrown_string), NAMED(thrown_number), NAMED(out_of_range),
        NAMED(bad_alloc), NAMED(system_error), NAMED(rethrown), NAMED(through_noexcept),
        NAMED(own_text), NAMED(other_words), NAMED(out_of_handler), NAMED(kept), NAMED(nested),
        NAMED(nothing_again), NAMED(terminated_in_handler), NAMED(terminated_after),
        NAMED(assigned_thread), NAMED(checked_index), NAMED(checked_pointer),
        NAMED(second_exception), NAMED(terminated), NAMED(running_thread), NAMED(pure_virtual),
        NAMED(null_object), NAMED(freed_object), NAMED(null_dynamic),
    };
    for (auto &way : ways) {
        if (count < 2 || std::strcmp(way.name, words[1]))
            continue;
        if (count > 2)
            std::thread(way.die).join();
        else
            way.die();
    }
    return 4;
}
