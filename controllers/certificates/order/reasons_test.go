package order

import (
	"os"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/api/problem"
)

func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []problem.Reason{
		ReasonIssuerNotFound, ReasonIssuerNotReady, ReasonIssuerConflict, ReasonSecretNotOurs, ReasonWildcardNeedsDNS,
		ReasonTooManyNames, ReasonCannotWrite, ReasonNotIssued,
	} {
		if !strings.Contains(string(page), "\n### "+string(reason)+"\n") {
			t.Errorf("docs/problems.md has no heading for %s", reason)
		}
	}
}
