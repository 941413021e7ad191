package legacy_test

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft/legacy"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

func TestChains(t *testing.T) {
	for _, family := range legacy.Families() {
		t.Run(family.Program, func(t *testing.T) {
			if tables, err := family.Tables(); err != nil || len(tables) > 0 {
				t.Errorf("before there are any, the tables are %q, %v", tables, err)
			}
			commands := ""
			for _, arguments := range []string{
				"-N USERS", "-N KUBE-SERVICES", "-A PREROUTING -m comment --comment x -j KUBE-SERVICES",
				"-A KUBE-SERVICES -p tcp -m multiport --dports 1,2,3 -m statistic --mode random --probability 0.5 -j USERS",
				"-N ABCDEFGHIJKLMNOPQRSTUVWXYZ12",
			} {
				commands += family.Program + "-legacy -t nat " + arguments + "\n"
			}
			if _, err := os.Stat("/proc/net/ip_tables_names"); err != nil {
				t.Skip("this kernel has no such tables, and that is what Tables says")
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-ec", "PATH=$PATH:/usr/sbin\n"+commands).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			tables, err := family.Tables()
			if diff := cmp.Diff([]string{"nat"}, tables); err != nil || diff != "" {
				t.Errorf("tables: %v (-want +got):\n%s", err, diff)
			}
			chains, err := family.Chains("nat")
			slices.Sort(chains)
			if diff := cmp.Diff([]string{"ABCDEFGHIJKLMNOPQRSTUVWXYZ12", "KUBE-SERVICES", "USERS"}, chains); err != nil || diff != "" {
				t.Errorf("chains: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}
