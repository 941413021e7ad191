package gateway

import "syscall"

// childAttributes keep Envoy out of our process group, so that Ctrl-C reaches
// us alone and Envoy is drained.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
