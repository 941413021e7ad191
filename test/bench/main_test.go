package bench

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(loadVariable); spec != "" {
		if err := generate(spec); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			os.Exit(1)
		}
		return
	}
	netns.Main(m, netip.MustParsePrefix("10.77.0.0/16"))
}
