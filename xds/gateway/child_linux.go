package gateway

import "syscall"

// childAttributes make Envoy end with us, however we end, and keep it out of
// our process group, so that Ctrl-C reaches us alone and Envoy is drained.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
