package logging_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/cmd/internal/logging"
)

func TestALogFollowsFormatAndVerbosity(t *testing.T) {
	var out strings.Builder
	log := logging.New(&out, logging.JSON, 1)
	log.V(1).Info("said", "host", "shop.test")
	log.V(2).Info("not said")
	if got := out.String(); !strings.Contains(got, `"msg":"said","host":"shop.test"`) || strings.Contains(got, "not said") {
		t.Errorf("logged %s", got)
	}
}

func TestOnlyErrorsDropsTheRest(t *testing.T) {
	var out strings.Builder
	log := logging.OnlyErrors(logging.New(&out, logging.Text, 2)).WithName("ads").WithValues("host", "shop.test")
	log.Info("not said")
	log.Error(errors.New("broken"), "said")
	if got := out.String(); !strings.Contains(got, "msg=said") || !strings.Contains(got, "shop.test") || strings.Contains(got, "not said") {
		t.Errorf("logged %s", got)
	}
}
