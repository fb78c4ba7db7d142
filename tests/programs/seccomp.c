/* crash-test
about = "a system call that seccomp forbids"
signal = "SIGSYS"
code = "SYS_SECCOMP"
cause = "seccomp"
reason = "filter"
frames = ["...", "ask", "main"]
flags = "-g -O1"
*/
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "ready.h"

KEEP long ask(void) {
    long value = syscall(SYS_getppid);
    AFTER_CALL;
    return value;
}

int main(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
    long value = ask();
    AFTER_CALL;
    return value != 0;
}
