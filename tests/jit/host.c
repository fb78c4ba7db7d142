/* Puts code where an ELF file says that it is, registers the file as just-in-time compilers do
   (gdb's documentation, "JIT Compilation Interface"), and calls it.
   usage: host FILE TEXT ADDRESS [cycle|huge|version|broken] */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct jit_code_entry {
    struct jit_code_entry *next, *prev;
    const char *address;
    uint64_t size;
};
struct jit_descriptor {
    uint32_t version, action;
    struct jit_code_entry *relevant, *first;
};
struct jit_descriptor __jit_debug_descriptor = {1, 0, 0, 0};

__attribute__((noinline)) void __jit_debug_register_code(void) { __asm__ volatile(""); }

static void *whole(const char *path, size_t *size) {
    struct stat status;
    int fd = open(path, O_RDONLY);
    fstat(fd, &status);
    char *data = malloc(status.st_size);
    *size = read(fd, data, status.st_size);
    return data;
}

int main(int argc, char **argv) {
    size_t file_size, text_size;
    char *file = whole(argv[1], &file_size), *text = whole(argv[2], &text_size);
    char *code = (char *)strtoul(argv[3], 0, 16);
    static struct jit_code_entry older, entry;
    mmap(code, text_size, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memcpy(code, text, text_size);
    entry = (struct jit_code_entry){&older, 0, file, file_size};
    older = (struct jit_code_entry){0, &entry, 0, 0};
    __jit_debug_descriptor.relevant = __jit_debug_descriptor.first = &entry;
    __jit_debug_descriptor.action = 1;
    __jit_debug_register_code();
    if (argc > 4 && !strcmp(argv[4], "cycle")) older.next = &entry;
    if (argc > 4 && !strcmp(argv[4], "huge")) entry.size = older.size = (uint64_t)-1;
    if (argc > 4 && !strcmp(argv[4], "version")) __jit_debug_descriptor.version = 7;
    if (argc > 4 && !strcmp(argv[4], "broken")) memset(file + 64, 0xff, file_size - 64);
    ((void (*)(int))code)(argc);
    __asm__ volatile("");
    return 0;
}
