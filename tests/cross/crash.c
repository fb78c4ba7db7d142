/* Crashes as its first argument says. Each way has its functions in one order, so that the
 * tests can name the stack. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define KEEP __attribute__((noinline, noclone))
#define HERE __asm__ volatile("") /* no call before it becomes a jump */

static int *volatile nowhere = (int *)16;
static int (*volatile bad_function)(int) = (int (*)(int))64;

/* The kernel puts SPARC's register windows on the stack before it dumps core, qemu does not. */
#ifdef __sparc__
#define TO_STACK __asm__ volatile("flushw");
#else
#define TO_STACK
#endif

KEEP int leaf(int *pointer) { TO_STACK return *pointer; }

KEEP int inner(int value) {
    int result = leaf(nowhere);
    HERE;
    return result + value;
}

KEEP int middle(int value) {
    volatile int room[20] = {0};
    room[value & 15] = inner(value + 1);
    HERE;
    return room[value & 15];
}

KEEP void handler(int number) {
    middle(number);
    HERE;
}

KEEP int in_signal(int value) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    HERE;
    return value;
}

KEEP void info_handler(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    middle(number);
    HERE;
}

KEEP int in_info_signal(int value) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = info_handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    HERE;
    return value;
}

/* The handler itself crashes; what it interrupts is a fault, not a call. */
KEEP void direct_handler(int number) { *(volatile int *)16 = number; }

KEEP int in_fault(int value) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = direct_handler;
    sigaction(SIGSEGV, &action, NULL);
    int result = leaf(nowhere);
    HERE;
    return result + value;
}

KEEP void *worker(void *argument) {
    middle(*(int *)argument);
    HERE;
    return NULL;
}

KEEP int on_thread(int value) {
    pthread_t thread;
    pthread_create(&thread, NULL, worker, &value);
    pthread_join(thread, NULL);
    HERE;
    return value;
}

KEEP int aborts(int value) {
    if (value) abort();
    HERE;
    return value;
}

KEEP int calls_nowhere(int value) {
    int result = bad_function(value);
    HERE;
    return result;
}

int main(int count, char **words) {
    const char *how = count > 1 ? words[1] : "nested";
    int result = 0;
    if (!strcmp(how, "nested")) result = middle(count);
    if (!strcmp(how, "signal")) result = in_signal(count);
    if (!strcmp(how, "siginfo")) result = in_info_signal(count);
    if (!strcmp(how, "fault")) result = in_fault(count);
    if (!strcmp(how, "thread")) result = on_thread(count);
    if (!strcmp(how, "abort")) result = aborts(count);
    if (!strcmp(how, "jump")) result = calls_nowhere(count);
    HERE;
    return result;
}
