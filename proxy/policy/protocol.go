package policy

import corev1 "k8s.io/api/core/v1"

// The protocols that have ports, by IANA's numbers.
const (
	TCP  uint8 = 6
	UDP  uint8 = 17
	SCTP uint8 = 132
)

func protocols() map[corev1.Protocol]uint8 {
	return map[corev1.Protocol]uint8{corev1.ProtocolTCP: TCP, corev1.ProtocolUDP: UDP, corev1.ProtocolSCTP: SCTP}
}

// Protocol is the number of a protocol that has ports.
func Protocol(name corev1.Protocol) (number uint8, known bool) {
	number, known = protocols()[name]
	return number, known
}

// HasPorts says whether connections of a protocol have ports, by which rules may speak of them.
func HasPorts(protocol uint8) bool {
	switch protocol {
	case TCP, UDP, SCTP:
		return true
	default:
		return false
	}
}
