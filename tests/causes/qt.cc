// Ways of programs with Qt to die; `qt WORD` or `qt WORD thread`. The few functions are declared as
// QtCore's ABI has them, in versions 5 and 6: its headers are not needed.
#include <cstring>
#include <thread>

class QMessageLogger
{
  public:
    QMessageLogger(const char *file, int line, const char *function)
        : version(2), line(line), file(file), function(function), category("default")
    {
    }
    [[noreturn]] void fatal(const char *form, ...) const noexcept;
    void warning(const char *form, ...) const;

  private:
    int version;
    int line;
    const char *file;
    const char *function;
    const char *category;
};

[[noreturn]] void qt_assert(const char *condition, const char *file, int line) noexcept;
[[noreturn]] void qt_assert_x(const char *where, const char *what, const char *file, int line) noexcept;

#define WAY [[gnu::noinline]] static void
#define LOGGER QMessageLogger(__FILE__, __LINE__, __func__)

static volatile int shelf = 12;
static const char *volatile name = "m\xc3\xb6" "bel";
static volatile double price = 2.5;

WAY fatal() { LOGGER.fatal("no shelf %d of %s for %.2f", shelf, name, price); }
WAY many()
{
    LOGGER.fatal("%d %u %x %c %5s|%-5s|%ld %lld %zu %% %p %d", -1, 2u, 0x3f, 'x', "a", "b", 4L, -5LL,
                 sizeof(int), static_cast<void *>(nullptr), shelf);
}
WAY warned() { LOGGER.warning("only a warning of shelf %d", shelf); }
WAY failed() { qt_assert("books > 0", "shelf.cc", 42); }
WAY failed_with_words() { qt_assert_x("shelf::put", "a book twice", "shelf.cc", 43); }

int main(int count, char **words)
{
    static const struct {
        const char *name;
        void (*die)();
    } ways[] = {{"fatal", fatal},
                {"many", many},
                {"warned", warned},
                {"failed", failed},
                {"failed_with_words", failed_with_words}};
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
