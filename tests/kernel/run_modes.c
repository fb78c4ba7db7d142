/* What the tests of `usercrash run` run: one way to live or die for each first argument. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int *volatile nowhere;
static sigjmp_buf back;
static pthread_barrier_t here;
static volatile int handled;

__attribute__((noinline)) void fault_here(void) { *(volatile int *)nowhere = 1; }
static void jump_back(int number) { siglongjmp(back, 1); }
static void count(int number) { handled++; }
static void *wait_here(void *arg) { pthread_barrier_wait(&here); pause(); return arg; }
static void *fault(void *arg) { pthread_barrier_wait(&here); fault_here(); return arg; }
static void *execute(void *path) { execl(path, path, "segv", NULL); return 0; }

static void start(int waiting, int faulting) {
    pthread_t thread;
    pthread_barrier_init(&here, 0, waiting + faulting + 1);
    for (int i = 0; i < waiting; i++) pthread_create(&thread, 0, wait_here, 0);
    for (int i = 0; i < faulting; i++) pthread_create(&thread, 0, fault, 0);
    pthread_barrier_wait(&here);
}

static int status_of_child(void) {
    int status;
    wait(&status);
    return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void forbid_getpid(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog rules = {4, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &rules);
}

int main(int argc, char **argv) {
    const char *mode = argv[1];
    pthread_t thread;
    sigset_t all;
    char byte;
    if (!strcmp(mode, "segv")) fault_here();
    if (!strcmp(mode, "abort")) abort();
    if (!strcmp(mode, "threads")) { start(8, 0); fault_here(); }
    if (!strcmp(mode, "worker")) { start(8, 1); pause(); }
    if (!strcmp(mode, "together")) { start(0, 8); pause(); }
    if (!strcmp(mode, "fork")) { if (!fork()) fault_here(); return status_of_child(); }
    if (!strcmp(mode, "vfork")) { if (!vfork()) { fault_here(); _exit(0); } return status_of_child(); }
    if (!strcmp(mode, "exec")) execl(argv[0], argv[0], "segv", NULL);
    if (!strcmp(mode, "exec_in_thread")) { pthread_create(&thread, 0, execute, argv[0]); pause(); }
    if (!strcmp(mode, "blocked")) { sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); fault_here(); }
    if (!strcmp(mode, "ignored")) { signal(SIGSEGV, SIG_IGN); fault_here(); }
    if (!strcmp(mode, "seccomp")) { forbid_getpid(); syscall(SYS_getpid); }
    if (!strcmp(mode, "no_room")) {
        struct sigaction action = {.sa_handler = count};
        sigaction(SIGSEGV, &action, 0);
#ifdef __x86_64__
        __asm__ volatile("xor %%rsp, %%rsp\n\tpush %%rax" ::: "memory");
#endif
    }
    if (!strcmp(mode, "handled")) {
        signal(SIGSEGV, jump_back);
        for (volatile int i = 0; i < 3000; i++) { if (!sigsetjmp(back, 1)) fault_here(); handled++; }
        printf("%d\n", handled);
        return 0;
    }
    if (!strcmp(mode, "ignores")) { signal(SIGQUIT, SIG_IGN); raise(SIGQUIT); puts("still here"); return 0; }
    if (!strcmp(mode, "many")) {
        for (int i = 0; i < 1000; i++) { if (!fork()) _exit(i % 7); if (status_of_child() != i % 7) return 1; }
        return 0;
    }
    if (!strcmp(mode, "group")) {
        signal(SIGUSR1, count);
        kill(0, SIGUSR1);
        while (!handled) ;
        printf("%d\n", handled);
        return 0;
    }
    if (!strcmp(mode, "daemon")) {
        if (fork()) return 4;
        setsid();
        if (fork()) _exit(0);
        if (read(0, &byte, 1) != 1) _exit(1);
        fault_here();
    }
    if (!strcmp(mode, "waits")) {
        if (write(1, "r", 1) != 1 || read(0, &byte, 1) != 1) return 1;
        if (argc > 2) fault_here();
        return 6;
    }
    return 99;
}
