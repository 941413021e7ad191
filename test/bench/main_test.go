package bench

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/fairwaynet/fairway/test/netns"
)

// TestMain is also the main function of the processes that a benchmark starts.
func TestMain(m *testing.M) {
	for variable, run := range map[string]func(string) error{loadVariable: generate, backendVariable: respond} {
		if value := os.Getenv(variable); value != "" {
			if err := run(value); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", variable, err)
				os.Exit(1)
			}
			return
		}
	}
	netns.Main(m, netip.MustParsePrefix("10.77.0.0/16"))
}
