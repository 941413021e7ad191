package announcement

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A node that is not Ready for a moment stays; one that is cordoned does not.
func TestWhichNodesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Speaker{unready: map[string]time.Time{}}
		node := &corev1.Node{}
		node.Name = "n1"
		is := func(what string, status corev1.ConditionStatus, cordoned, want bool, wantLeft time.Duration) {
			t.Helper()
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
			node.Spec.Unschedulable = cordoned
			if stays, left := s.stays(node); stays != want || left != wantLeft {
				t.Errorf("%s: %t, for %s, want %t, for %s", what, stays, left, want, wantLeft)
			}
		}
		is("Ready", corev1.ConditionTrue, false, true, 0)
		is("Ready and cordoned", corev1.ConditionTrue, true, false, 0)
		is("not Ready", corev1.ConditionUnknown, false, true, unready)
		is("not Ready and cordoned", corev1.ConditionUnknown, true, false, unready)
		time.Sleep(unready - time.Second) //nolint:forbidigo // its clock is not the real one
		is("not Ready for some time", corev1.ConditionFalse, false, true, time.Second)
		time.Sleep(time.Second) //nolint:forbidigo // as above
		is("not Ready for long", corev1.ConditionFalse, false, false, 0)
		is("Ready again", corev1.ConditionTrue, false, true, 0)
		is("and not again", corev1.ConditionFalse, false, true, unready)
	})
}

// The interface that answers is that of the longest prefix; and of several in one network, that
// of the node's route.
func TestWhichInterfaceAnswers(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	s := &Speaker{
		links: []Link{
			{"wlan0", prefixes("192.0.2.9/24", "2001:db8::9/64")},
			{"eth0", prefixes("192.0.2.7/24", "198.51.100.7/32", "2001:db8::7/64")},
			{"eth1", prefixes("192.0.2.129/26", "203.0.113.1/24")},
		},
		direct: map[netip.Prefix]string{
			netip.MustParsePrefix("192.0.2.0/24"): "eth0", netip.MustParsePrefix("2001:db8::/64"): "gone0", netip.MustParsePrefix("203.0.113.0/24"): "wlan0",
		},
	}
	for _, test := range []struct{ name, address, want string }{
		{"two in one network: that of the route", "192.0.2.100", "eth0"},
		{"a longer prefix comes before the route", "192.0.2.130", "eth1"},
		{"the route is by an interface that is not in the network: the first that is", "2001:db8::100", "wlan0"},
		{"so it is if that one is alone", "203.0.113.100", "eth1"},
		{"an address of an interface is no network", "198.51.100.7", ""},
		{"no network", "10.0.0.1", ""},
	} {
		if got := s.device(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
