package route_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/xds/route"
)

// The schema lets the API server take the fields that there are, and no others.
func TestTheSchemaKnowsTheLogFields(t *testing.T) {
	for _, file := range []string{"clustergatewayconfigs", "gatewayconfigs"} {
		text, err := os.ReadFile("../../config/crd/fairway.dev_" + file + ".yaml")
		must(t, err)
		var crd struct {
			Spec struct {
				Versions []struct {
					Schema struct{ OpenAPIV3Schema property }
				}
			}
		}
		must(t, yaml.Unmarshal(text, &crd))
		var got []route.LogField
		for _, value := range crd.Spec.Versions[0].Schema.OpenAPIV3Schema.at("spec", "accessLog", "fields").Items.Enum {
			got = append(got, route.LogField(value))
		}
		want := route.LogFields()
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-fields +schema):\n%s", file, diff)
		}
	}
}

// property is as much of a schema as is read here.
type property struct {
	Properties map[string]property
	Items      struct{ Enum []string }
}

func (p property) at(path ...string) property {
	for _, name := range path {
		p = p.Properties[name]
	}
	return p
}
