package link_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/cni/link"
)

func TestLiberalConntrack(t *testing.T) {
	const file = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"
	rules := exec.CommandContext(t.Context(), "/usr/sbin/nft", "-f", "-")
	rules.Stdin = strings.NewReader("table ip nat {\nchain output {\ntype nat hook output priority 0\n}\n}\n")
	if out, err := rules.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := exec.Command("/usr/sbin/nft", "delete", "table", "ip", "nat").Run(); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	changed, err := link.LiberalConntrack()
	if err != nil || len(changed) != 1 || !strings.Contains(changed[0], "nf_conntrack_tcp_be_liberal was 0, not 1") {
		t.Errorf("changed %q, %v", changed, err)
	}
	if value, err := os.ReadFile(file); err != nil || string(value) != "1\n" {
		t.Errorf("it is %q, %v", value, err)
	}
	if changed, err = link.LiberalConntrack(); err != nil || len(changed) > 0 {
		t.Errorf("again: changed %q, %v", changed, err)
	}
}
