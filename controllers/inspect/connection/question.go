package connection

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Question is who wants to connect to what.
type Question struct {
	From types.NamespacedName // a pod
	To   Target
}

// Target is what somebody connects to: exactly one of Address, Pod and Service.
type Target struct {
	Text     string // as it was written
	Address  netip.Addr
	Pod      types.NamespacedName
	Service  types.NamespacedName // without a namespace: that of the sender
	Port     uint16
	Protocol corev1.Protocol
}

// ParseTarget reads HOST:PORT, with /udp or /sctp behind it for other protocols than TCP. HOST is an address, a
// pod (NAMESPACE/POD), or the name of a Service, as pods use it.
func ParseTarget(text string) (Target, error) {
	t := Target{Text: text, Protocol: corev1.ProtocolTCP}
	colon := strings.LastIndex(text, ":")
	if colon < 0 {
		return t, fmt.Errorf("%q has no port: write HOST:PORT", text)
	}
	host, rest := text[:colon], text[colon+1:]
	port, protocol, has := strings.Cut(rest, "/")
	if has {
		t.Protocol = corev1.Protocol(strings.ToUpper(protocol))
	}
	switch t.Protocol {
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
	default:
		return t, fmt.Errorf("%q is none of the protocols tcp, udp and sctp", protocol)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return t, fmt.Errorf("%q is no port from 1 to 65535", port)
	}
	t.Port = uint16(number)
	return t, t.host(host)
}

func (t *Target) host(text string) error {
	bare, bracketed := strings.CutPrefix(text, "[")
	if bracketed {
		bare = strings.TrimSuffix(bare, "]")
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		if a.Is6() && !bracketed {
			return fmt.Errorf("write an IPv6 address in brackets: [%s]:%d", a, t.Port)
		}
		t.Address = a.Unmap().WithZone("")
		return nil
	}
	if namespace, name, both := strings.Cut(text, "/"); both {
		if namespace == "" || name == "" || strings.Contains(name, "/") {
			return fmt.Errorf("%q is not NAMESPACE/POD", text)
		}
		t.Pod = types.NamespacedName{Namespace: namespace, Name: name}
		return nil
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	if strings.ContainsAny(text, "[]: ") || labels[0] == "" || len(labels) > 2 && labels[2] != "svc" || len(labels) > 1 && labels[1] == "" {
		return fmt.Errorf("%q is no address, no pod (NAMESPACE/POD) and no Service (NAME.NAMESPACE): give one of the addresses of a name outside of the cluster", text)
	}
	t.Service.Name = labels[0]
	if len(labels) > 1 {
		t.Service.Namespace = labels[1]
	}
	return nil
}
