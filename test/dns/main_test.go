package dns

import (
	"net/netip"
	"testing"

	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.77.0.0/16")) }
