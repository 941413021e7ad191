package lab

import (
	"strings"
	"testing"
)

func TestTheZeroOptionsAreTwoNodesOnOneFabric(t *testing.T) {
	o, err := Options{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if o.Name != "lab" || o.Nodes != 2 || o.Fabrics != 1 || o.MTU != 1500 || o.Families != IPv4 {
		t.Errorf("complete = %+v", o)
	}
}

func TestEveryMistakeIsToldAtOnce(t *testing.T) {
	_, err := Options{Name: "A/b", Nodes: 6, Fabrics: 3, MTU: 500, NodeMTU: map[string]int{"n1": 600}, NodeBits4: 16, Families: "ipx", CoreDNS: true}.complete()
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range []string{`"A/b"`, "6 nodes", "3 fabrics", "MTU 500", "MTU 600", "16 bits", `"ipx"`, "CoreDNS"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not tell of %s:\n%v", word, err)
		}
	}
}
