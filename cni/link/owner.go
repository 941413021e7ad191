package link

import (
	"crypto/sha256"
	"encoding/base32"
	"net"
	"strings"
)

// Prefix begins the name of every interface on a node that is ours, so that one line
// tells a network manager to leave them alone.
const Prefix = "fw"

// Owner is what a wire belongs to: an interface of a container.
type Owner struct {
	Container, Interface string
}

// String returns "container/interface". It is the alias of the host's end.
func (o Owner) String() string { return o.Container + "/" + o.Interface }

// hash of the owner and the number of a name.
func (o Owner) hash(attempt byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(o.Container+"\x00"+o.Interface), attempt))
}

// hostName returns a name for the host's end of the owner's wire. Two owners, whatever
// their identifiers have in common, share one by chance of 1 to 2⁶⁰. The attempt gives
// another name, if an interface of somebody else has that one.
func (o Owner) hostName(attempt byte) string {
	hash := o.hash(attempt)
	return Prefix + strings.ToLower(base32.StdEncoding.EncodeToString(hash[:])[:12])
}

// hardwareAddr is the host's end's MAC address, locally administered. It follows from
// the owner and is set in the message that makes the interface, so there is no moment at
// which the interface cannot be told from another of the same name.
func (o Owner) hardwareAddr() net.HardwareAddr {
	hash := o.hash(0xff)
	return net.HardwareAddr{0x02, 0xfa, hash[12], hash[13], hash[14], hash[15]}
}

// podHardwareAddr is the pod's end's MAC address. It follows from the owner, so that the
// node's entry for the pod can be put back without a look into the pod.
func (o Owner) podHardwareAddr() net.HardwareAddr {
	hash := o.hash(0xfe)
	return net.HardwareAddr{0x02, 0xfb, hash[12], hash[13], hash[14], hash[15]}
}

// shaperName returns the name of the device that limits what the pod sends.
func shaperName(hostName string) string {
	return Prefix + "i" + strings.TrimPrefix(hostName, Prefix)
}
