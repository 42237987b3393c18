/* I17: calls that no program needs and that attacks begin with; tells how each is answered. None of them would do
   harm if it were allowed: they come with arguments that are refused after the question of permission. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#define TRY(name, call) do { errno = 0; long result = (long)(call); \
    printf("%s %s\n", name, result >= 0 ? "allowed" : strerrorname_np(errno)); fflush(stdout); } while (0)

/* In a child, because it would change us. */
#define TRY_IN_CHILD(name, call) do { fflush(stdout); pid_t child = fork(); \
    if (child == 0) { TRY(name, call); _exit(0); } waitpid(child, NULL, 0); } while (0)

int main(void) {
    char zeros[256] = {0};
    struct clone_args ordinary = {.exit_signal = SIGCHLD};
    TRY("io_uring_setup", syscall(SYS_io_uring_setup, 1, zeros));
    TRY_IN_CHILD("unshare-user", unshare(CLONE_NEWUSER));
    TRY_IN_CHILD("unshare-mount", unshare(CLONE_NEWNS));
    TRY_IN_CHILD("unshare-network", unshare(CLONE_NEWNET));
    TRY_IN_CHILD("unshare-user-of-many", unshare(CLONE_NEWUSER | CLONE_FS | CLONE_FILES));
    fflush(stdout);
    TRY("clone-user", ({ long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); if (child == 0) _exit(0); child; }));
    TRY("clone3", ({ long child = syscall(SYS_clone3, &ordinary, sizeof ordinary); if (child == 0) _exit(0); child; }));
    TRY("setns", syscall(SYS_setns, open("/proc/self/ns/mnt", O_RDONLY), 0));
    TRY("mount", mount("none", ".", "tmpfs", 0, NULL));
    TRY("mount-bind", mount(".", ".", NULL, MS_BIND, NULL));
    TRY("umount", umount2("/proc", MNT_DETACH));
    TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
    TRY("chroot", chroot("."));
    TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, ".", 1));
    TRY("move_mount", syscall(SYS_move_mount, -1, "", -1, "", 0));
    TRY("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, ".", 0, zeros, 32));
    TRY("bpf", syscall(SYS_bpf, 5, zeros, 48));
    TRY("perf_event_open", syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
    TRY("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
    TRY("add_key", syscall(SYS_add_key, "user", "ruche", "x", 1, KEY_SPEC_PROCESS_KEYRING));
    TRY("request_key", syscall(SYS_request_key, "user", "ruche", NULL, 0));
    TRY("ptrace", ptrace(PTRACE_SEIZE, getppid(), 0, 0));
    TRY("process_vm_writev", syscall(SYS_process_vm_writev, getppid(), zeros, 0, zeros, 0, 0));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    TRY("init_module", syscall(SYS_init_module, NULL, 0, ""));
    TRY("finit_module", syscall(SYS_finit_module, -1, "", 0));
    TRY("delete_module", syscall(SYS_delete_module, "no-such-module", O_NONBLOCK));
    TRY("swapon", syscall(SYS_swapon, "no-such-file", 0));
    TRY("swapoff", syscall(SYS_swapoff, "no-such-file"));
    TRY("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
    TRY("sethostname", syscall(SYS_sethostname, "", -1));
    TRY("settimeofday", syscall(SYS_settimeofday, NULL, NULL));
    TRY("acct", syscall(SYS_acct, "no-such-file"));
    TRY("quotactl", syscall(SYS_quotactl, 0x800002, "no-such-device", 0, NULL));
    TRY("syslog", syscall(SYS_syslog, 3, zeros, sizeof zeros));
    TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
    TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, O_RDONLY));
    TRY("mknod-device", mknod("device", S_IFBLK | 0600, makedev(7, 0)));
    TRY("chown-root", chown(".", 0, 0));
    TRY("setuid", setresuid(0, 0, 0));
    TRY("setgroups", syscall(SYS_setgroups, 0, NULL));
#ifdef SYS_iopl
    TRY("iopl", syscall(SYS_iopl, 3));
    TRY("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
#endif
    TRY("terminal", open("/dev/tty", O_RDWR));
    TRY("TIOCSTI", ioctl(0, TIOCSTI, "x"));
    return 0;
}
