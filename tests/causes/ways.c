/* Ways to die, one for each word; `ways WORD` dies that way, `ways WORD thread` in another thread. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define NOINLINE __attribute__((noinline, noclone))

struct book {
    struct book *next;
    char *title;
    long pages;
    int (*print)(struct book *);
};

char *__strcpy_chk(char *, const char *, size_t); /* what _FORTIFY_SOURCE makes of strcpy() */

static volatile long sink;
static void *volatile hidden; /* what the compiler may not know */

static char *pages(int count, int protection)
{
    char *memory = mmap(NULL, count * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(3);
    return memory;
}

/* Memory with a hole of nothing on each side. */
static char *island(int count)
{
    char *memory = pages(count + 2, PROT_READ | PROT_WRITE);
    munmap(memory, PAGE);
    munmap(memory + (count + 1) * PAGE, PAGE);
    return memory + PAGE;
}

/* --- null pointers --- */

NOINLINE static int at_index(const int *numbers, long index) { return numbers[index]; }

NOINLINE static void null_read(void)
{
    struct book *book = hidden;
    sink = book->pages;
}

NOINLINE static void null_write(void)
{
    struct book *book = hidden;
    book->next = NULL;
}

NOINLINE static void null_in_library(void) { sink = strlen(hidden); }

NOINLINE static void null_array(void)
{
    sink = at_index(hidden, 25000);
}

/* A store of 16 bytes, as compilers clear objects */
NOINLINE static void null_cleared(void)
{
    __asm__ volatile("pxor %%xmm0, %%xmm0\n\tmovups %%xmm0, 0x10(%0)" : : "r"(hidden) : "xmm0");
}

NOINLINE static void failed_map(void)
{
    long *numbers = mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    hidden = numbers;
    sink = ((struct book *)hidden)->pages;
}

NOINLINE static void error_number(void)
{
    hidden = (void *)(intptr_t)-ENOENT;
    sink = ((struct book *)hidden)->pages;
}

NOINLINE static int jumps_on(int (*print)(void)) { return print(); }
NOINLINE static void null_tail_call(void)
{
    sink = jumps_on((int (*)(void))hidden) + 1;
}

NOINLINE static void return_to_null(void)
{
    __asm__ volatile("xorl %eax, %eax\n\tpushq $7\n\tpushq %rax\n\tret");
}

NOINLINE static void null_call(void)
{
    int (*print)(struct book *) = (int (*)(struct book *))hidden;
    sink = print(NULL);
}

NOINLINE static void null_method(void)
{
    struct book book = {0};
    hidden = &book;
    sink = ((struct book *)hidden)->print(hidden);
}

/* --- bad addresses --- */

NOINLINE static void wild_read(void) { sink = *(volatile int *)(0x123456789000 + sink); }

NOINLINE static void past_end(void)
{
    char *memory = island(2);
    for (long at = 0;; at++)
        memory[at] = 1;
}

NOINLINE static void negative_index(void) { sink = at_index((int *)island(1), -3); }

NOINLINE static void unsigned_index(void)
{
    unsigned index = 0;
    index -= 2;
    sink = at_index((int *)island(1), index);
}

NOINLINE static void large_index(void) { sink = at_index((int *)island(1), 50000000); }

NOINLINE static void unmapped(void)
{
    volatile int *numbers = (int *)pages(64, PROT_READ | PROT_WRITE);
    munmap((void *)numbers, 64 * PAGE);
    sink = numbers[40 * PAGE / 4];
}

NOINLINE static void write_constant(void)
{
    char *text = (char *)"chapter one";
    text[0] = 'C';
}

NOINLINE static void write_code(void) { *(volatile char *)(uintptr_t)write_constant = 1; }

NOINLINE static void read_forbidden(void) { sink = *(volatile char *)pages(3, PROT_NONE); }

NOINLINE static void write_protected(void) { *pages(3, PROT_READ) = 1; }

static pthread_t parked(void **stack);

/* An overrun of a large thread's stack from outside of it */
NOINLINE static void guard_page(void)
{
    void *lowest;
    parked(&lowest);
    *(volatile char *)((char *)lowest - 64) = 1;
}

NOINLINE static void non_canonical(void)
{
    struct book *book = (struct book *)(0x00ff000012345678 + (uintptr_t)hidden);
    sink = book->pages;
}

NOINLINE static void text_in_pointer(void)
{
    struct book book = {0};
    struct book *volatile pointer = &book;
    memcpy((void *)&book.next, "GET /index", 8);
    sink = pointer->next->pages;
}

NOINLINE static void filler(void)
{
    struct book book;
    struct book *volatile pointer = &book;
    memset((void *)&book, 0xcd, sizeof book);
    sink = pointer->next->pages;
}

NOINLINE static void flipped_bit(void)
{
    uintptr_t good = (uintptr_t)pages(1, PROT_READ | PROT_WRITE);
    struct book *volatile pointer = (struct book *)(good ^ 1ul << 45);
    sink = pointer->pages;
}

/* A pointer that went through an int */
NOINLINE static void cut_pointer(void)
{
    char *memory = mmap((void *)0x2aab12345000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sink = *(volatile int *)(uintptr_t)(unsigned)(uintptr_t)memory;
}

NOINLINE static void wide_text(void)
{
    struct book book = {0};
    struct book *volatile pointer = &book;
    memcpy((void *)&book.next, u"NAME", 8);
    sink = pointer->next->pages;
}

/* A structure member of what was freed in the kernel's way: poison plus the member's place */
NOINLINE static void slab_poison(void)
{
    struct book book;
    struct book *volatile pointer = &book;
    memset((void *)&book, 0x6b, sizeof book);
    hidden = (char *)pointer->next + 0x20;
    sink = ((struct book *)hidden)->pages;
}

NOINLINE static void misaligned_operand(void)
{
    char *memory = pages(1, PROT_READ | PROT_WRITE) + 4;
    __asm__ volatile("paddd (%0), %%xmm0" : : "r"(memory) : "xmm0");
}

NOINLINE static void misaligned_vector(void)
{
    char *memory = pages(1, PROT_READ | PROT_WRITE) + 8;
    __asm__ volatile("movaps (%0), %%xmm0" : : "r"(memory) : "xmm0");
}

NOINLINE static void bad_stack_pointer(void)
{
    __asm__ volatile("movq $0x123000, %rsp\n\tpushq $1");
}

/* --- freed memory --- */

static struct book *library(int count)
{
    struct book *first = NULL;
    for (int i = 0; i < count; i++) {
        struct book *book = calloc(1, sizeof *book);
        book->next = first;
        book->title = strdup("a title");
        first = book;
    }
    return first;
}

NOINLINE static void freed_next(void)
{
    struct book *volatile book = library(3);
    free(book->next);
    free(book);
    sink = book->next->pages;
}

NOINLINE static void freed_last(void)
{
    struct book *volatile book = library(1);
    free(book);
    sink = book->next->pages;
}

NOINLINE static void freed_title(void)
{
    struct book *volatile book = library(1);
    free(book);
    sink = strlen(book->title);
}

NOINLINE static void freed_second_word(void)
{
    struct book *volatile book = library(2);
    free(book);
    sink = book->title[3];
}

NOINLINE static void freed_poisoned(void)
{
    struct book *volatile book = library(1);
    memset((void *)book, 0xdd, sizeof *book);
    sink = book->next->pages;
}

NOINLINE static void list_poison(void)
{
    struct book *volatile book = (struct book *)0xdead000000000100;
    sink = book->pages;
}

NOINLINE static void freed_call(void)
{
    struct {
        int (*print)(void);
        long rest[5];
    } *volatile thing = calloc(1, sizeof *thing);
    free(thing);
    sink = thing->print();
}

/* A block that is too large for the small lists */
NOINLINE static void freed_large_call(void)
{
    struct {
        int (*print)(void);
        long rest[300];
    } *volatile thing = calloc(1, sizeof *thing);
    hidden = malloc(100); /* or it would be given back to the top */
    free(thing);
    sink = thing->print();
}

/* --- execution of what is no code --- */

NOINLINE static void call_heap(void)
{
    int (*code)(void) = (int (*)(void))(uintptr_t)strdup("\xc3 no code");
    sink = code();
}

NOINLINE static void call_stack(void)
{
    char code[64] = "\xc3";
    hidden = code;
    sink = ((int (*)(void))hidden)();
}

NOINLINE static void call_wild(void) { sink = ((int (*)(void))(0x1234567000 + sink))(); }

NOINLINE static void return_to_text(void)
{
    __asm__ volatile("movabsq $0x4141414141414141, %rax\n\tpushq %rax\n\tret");
}

NOINLINE static void end_of_code(void)
{
    char *code = pages(2, PROT_READ | PROT_WRITE);
    memset(code, 0x90, PAGE);
    munmap(code + PAGE, PAGE);
    mprotect(code, PAGE, PROT_READ | PROT_EXEC);
    ((void (*)(void))(uintptr_t)(code + PAGE - 4))();
}

NOINLINE static void end_of_code_beside_data(void)
{
    char *code = pages(2, PROT_READ | PROT_WRITE);
    memset(code, 0x90, PAGE);
    mprotect(code, PAGE, PROT_READ | PROT_EXEC);
    ((void (*)(void))(uintptr_t)(code + PAGE - 4))();
}

/* --- the stack --- */

NOINLINE static long recursion(long depth)
{
    volatile char room[256];
    room[depth % 256] = 1;
    return depth + room[0] + recursion(depth + 1) * 2;
}

static void overflow(void) { sink = recursion(1); }

static long odd(long depth);
NOINLINE static long even(long depth)
{
    volatile char room[512];
    room[depth % 512] = 1;
    return room[1] + odd(depth + 1) * 3;
}
NOINLINE static long odd(long depth)
{
    volatile char room[512];
    room[depth % 512] = 1;
    return room[1] + even(depth + 1) * 3;
}

static void overflow_of_two(void) { sink = even(1); }

NOINLINE static void large_array(void)
{
    volatile char room[12 << 20];
    room[0] = 1;
    sink = room[1];
}

/* --- SIGBUS --- */

static char *mapped(int fd, off_t size, off_t mapped_size)
{
    if (fd < 0 || ftruncate(fd, size))
        _exit(3);
    return mmap(NULL, mapped_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

NOINLINE static void truncated_file(void)
{
    char name[] = "/var/tmp/catalogue-XXXXXX";
    int fd = mkstemp(name);
    char *data = mapped(fd, 5 * PAGE, 5 * PAGE);
    unlink(name);
    if (ftruncate(fd, PAGE + 100))
        _exit(3);
    sink = data[3 * PAGE + 5];
}

/* Code whose file was cut */
NOINLINE static void truncated_code(void)
{
    int fd = memfd_create("plugin", 0);
    if (ftruncate(fd, 2 * PAGE))
        _exit(3);
    char *code = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (ftruncate(fd, PAGE))
        _exit(3);
    ((void (*)(void))(uintptr_t)(code + PAGE))();
}

NOINLINE static void short_memfd(void)
{
    sink = mapped(memfd_create("shelf", 0), 100, 2 * PAGE)[PAGE + 1];
}

NOINLINE static void full_tmpfs(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
        || mount("small", "/mnt", "tmpfs", 0, "size=16384"))
        _exit(3);
    char *data = mapped(open("/mnt/index", O_RDWR | O_CREAT, 0600), 64 * PAGE, 64 * PAGE);
    for (int page = 0; page < 64; page++)
        data[page * PAGE] = 1;
}

NOINLINE static void no_huge_page(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
    char *memory = mmap(NULL, 1 << 30, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        _exit(3);
    for (long at = 0; at < 1 << 30; at += 2 << 20)
        memory[at] = 1;
}

NOINLINE static void alignment_check(void)
{
    __asm__ volatile("pushfq\n\torl $0x40000, (%rsp)\n\tpopfq\n\tmovl 1(%rsp), %eax");
}

/* --- aborts --- */

NOINLINE static void plain_abort(void) { abort(); }
NOINLINE static void assertion(void)
{
    int shelves = 3;
    hidden = &shelves;
    assert(shelves == 4);
}
NOINLINE static void double_free(void)
{
    void *block = malloc(100);
    hidden = block;
    free(hidden);
    free(block);
}
NOINLINE static void invalid_free(void)
{
    long array[8] = {0};
    hidden = &array[2];
    free(hidden);
}
NOINLINE static void heap_overrun(void)
{
    char *volatile small = malloc(24), *volatile next = malloc(2000), *volatile last = malloc(24);
    hidden = small;
    memset(hidden, 0x41, 48);
    free(next);
    free(last);
}
NOINLINE static void smashed_stack(void)
{
    char title[16];
    hidden = title;
    memset(hidden, 'x', 64 + sink);
}
NOINLINE static void fortified(void)
{
    char title[16];
    hidden = "a title that is much longer than its buffer";
    __strcpy_chk(title, hidden, sizeof title);
    sink = title[3];
}
NOINLINE static void raised_abort(void) { raise(SIGABRT); }

/* --- arithmetic and instructions --- */

NOINLINE static int divide(int a, int b) { return a / b; }
NOINLINE static long long_divide(long a, long b) { return a / b; }
NOINLINE static unsigned unsigned_divide(unsigned a, unsigned *b) { return a / *b; }

NOINLINE static void division(void) { sink = divide(100, (int)sink); }
NOINLINE static void division_in_memory(void)
{
    unsigned zero = 0;
    sink = unsigned_divide(100, &zero);
}
NOINLINE static void lowest(void) { sink = divide(INT_MIN, (int)sink - 1); }
NOINLINE static void lowest_long(void) { sink = long_divide(LONG_MIN, sink - 1); }

NOINLINE static void floating_point(void)
{
    __asm__ volatile("pushq $0x1d80\n\tldmxcsr (%%rsp)\n\tpopq %%rax\n\txorps %%xmm0, %%xmm0\n\t"
                     "movl $1, %%eax\n\tcvtsi2sd %%eax, %%xmm1\n\tdivsd %%xmm0, %%xmm1"
                     : : : "rax", "xmm0", "xmm1");
}

NOINLINE static void builtin_trap(void) { __builtin_trap(); }
NOINLINE static void privileged(void) { __asm__ volatile("hlt"); }
NOINLINE static void interrupt(void) { __asm__ volatile("int $0x42"); }
NOINLINE static void undefined_instruction(void) { __asm__ volatile(".byte 0x0f, 0xb9, 0xc0"); }
NOINLINE static void no_instruction(void) { __asm__ volatile(".byte 0x06, 0x06, 0x06, 0x06, 6, 6, 6, 6"); }
/* vfmaddsd of AMD's FMA4, femms of 3DNow!: no processor of Intel's has them, new ones of AMD neither */
NOINLINE static void other_processor(void)
{
    __asm__ volatile(".byte 0xc4, 0xe3, 0xf1, 0x6b, 0xd3, 0x00");
}
NOINLINE static void breakpoint(void) { __asm__ volatile("int3"); }
NOINLINE static void single_step(void)
{
    __asm__ volatile("pushfq\n\torl $0x100, (%rsp)\n\tpopfq\n\tnop\n\tnop");
}

/* --- the kernel --- */

/* getpid() of i386 is the number of writev() of x86-64 */
NOINLINE static void forbidden_call_of_32_bits(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program))
        _exit(3);
    __asm__ volatile("int $0x80" : : "a"(20));
}

NOINLINE static void forbidden_call(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mkdirat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program))
        _exit(3);
    syscall(__NR_mkdirat, AT_FDCWD, "/no/such/place", 0711);
}

NOINLINE static void file_size(void)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    int fd = memfd_create("log", 0);
    if (ftruncate(fd, 2 << 20))
        _exit(3);
}

NOINLINE static void cpu_time(void)
{
    struct rlimit limit = {1, 5};
    setrlimit(RLIMIT_CPU, &limit);
    for (;;)
        sink++;
}

/* --- signals --- */

NOINLINE static void own_segv(void) { raise(SIGSEGV); }
NOINLINE static void own_kill(void)
{
    kill(getpid(), SIGQUIT);
    pause();
}
static void *executioner(void *victim)
{
    pthread_kill(*(pthread_t *)victim, SIGSEGV);
    for (;;)
        pause();
    return NULL;
}
NOINLINE static void by_other_thread(void)
{
    pthread_t self = pthread_self(), thread;
    pthread_create(&thread, NULL, executioner, &self);
    for (;;)
        pause();
}
NOINLINE static void by_child(void)
{
    int parent = getpid();
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it lives until its parent is gone: it has a name */
        prctl(PR_SET_NAME, "executioner");
        kill(parent, SIGSEGV);
        pause();
    }
    pause();
}
NOINLINE static void by_child_abort(void)
{
    int parent = getpid();
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "systemd");
        kill(parent, SIGABRT);
        pause();
    }
    pause();
}
NOINLINE static void by_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGQUIT};
    struct itimerspec when = {.it_value = {.tv_nsec = 1000}};
    timer_t timer;
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &when, NULL);
    pause();
}

static void passing_on(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}
NOINLINE static void handled_and_raised(void)
{
    signal(SIGSEGV, passing_on);
    null_read();
}
static void aborting(int number)
{
    sink = number;
    abort();
}
NOINLINE static void handled_and_aborted(void)
{
    signal(SIGFPE, aborting);
    division();
}
static void faulting(int number)
{
    sink = number;
    null_write();
}
NOINLINE static void fault_in_handler(void)
{
    signal(SIGUSR1, faulting);
    raise(SIGUSR1);
}
NOINLINE static void no_stack_for_handler(void)
{
    stack_t stack = {.ss_sp = (void *)0x10000, .ss_size = 65536};
    struct sigaction action = {.sa_handler = passing_on, .sa_flags = SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

/* A handler that overwrites what it must return to */
static void damaging(int number, siginfo_t *info, void *context)
{
    sink = number + (info == NULL);
    ((ucontext_t *)context)->uc_mcontext.fpregs = (void *)0x4141414141414141;
}
NOINLINE static void damaged_signal_frame(void)
{
    struct sigaction action = {.sa_sigaction = damaging, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

#define WAY(name) {#name, name}
static const struct {
    const char *name;
    void (*die)(void);
} ways[] = {
    WAY(null_read), WAY(null_write), WAY(null_in_library), WAY(null_array), WAY(null_call),
    WAY(null_method), WAY(wild_read), WAY(past_end), WAY(negative_index), WAY(unsigned_index),
    WAY(large_index), WAY(unmapped), WAY(write_constant), WAY(write_code), WAY(read_forbidden),
    WAY(write_protected), WAY(guard_page), WAY(non_canonical), WAY(text_in_pointer), WAY(filler),
    WAY(flipped_bit), WAY(misaligned_vector), WAY(bad_stack_pointer), WAY(freed_next),
    WAY(freed_last), WAY(freed_title), WAY(freed_second_word), WAY(freed_poisoned),
    WAY(list_poison), WAY(freed_call), WAY(call_heap), WAY(call_stack), WAY(call_wild),
    WAY(return_to_text), WAY(end_of_code), WAY(overflow), WAY(overflow_of_two), WAY(large_array),
    WAY(truncated_file), WAY(short_memfd), WAY(full_tmpfs), WAY(no_huge_page),
    WAY(alignment_check), WAY(plain_abort), WAY(assertion), WAY(double_free), WAY(invalid_free),
    WAY(heap_overrun), WAY(smashed_stack), WAY(fortified), WAY(raised_abort), WAY(division),
    WAY(division_in_memory), WAY(lowest), WAY(lowest_long), WAY(floating_point),
    WAY(builtin_trap), WAY(privileged), WAY(no_instruction), WAY(other_processor),
    WAY(breakpoint), WAY(single_step), WAY(forbidden_call), WAY(file_size), WAY(cpu_time),
    WAY(own_segv), WAY(own_kill), WAY(by_child), WAY(by_child_abort), WAY(by_timer),
    WAY(handled_and_raised), WAY(handled_and_aborted), WAY(fault_in_handler),
    WAY(no_stack_for_handler), WAY(null_cleared), WAY(failed_map), WAY(error_number),
    WAY(null_tail_call), WAY(return_to_null), WAY(cut_pointer), WAY(wide_text), WAY(slab_poison),
    WAY(misaligned_operand), WAY(freed_large_call), WAY(end_of_code_beside_data),
    WAY(truncated_code), WAY(interrupt), WAY(undefined_instruction), WAY(forbidden_call_of_32_bits),
    WAY(by_other_thread), WAY(damaged_signal_frame),
};

static void *in_thread(void *die)
{
    ((void (*)(void))die)();
    return NULL;
}

static void *wait_for_ever(void *started)
{
    char here;
    pthread_attr_t attributes;
    void *lowest = &here;
    size_t size;
    if (!pthread_getattr_np(pthread_self(), &attributes))
        pthread_attr_getstack(&attributes, &lowest, &size);
    pthread_setname_np(pthread_self(), "librarian");
    *(void *volatile *)started = lowest;
    for (;;)
        pause();
    return NULL;
}

static pthread_t parked(void **stack)
{
    pthread_t thread;
    void *volatile lowest = NULL;
    pthread_create(&thread, NULL, wait_for_ever, (void *)&lowest);
    while (!lowest)
        sched_yield();
    *stack = lowest;
    return thread;
}

int main(int count, char **words)
{
    alarm(20); /* whatever goes wrong */
    for (size_t i = 0; count > 1 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].name, words[1]))
            continue;
        if (count > 2) {
            pthread_t thread;
            pthread_create(&thread, NULL, in_thread, (void *)ways[i].die);
            pthread_join(thread, NULL);
        } else {
            ways[i].die();
        }
    }
    return 4;
}
