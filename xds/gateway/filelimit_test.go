package gateway

import "testing"

func TestConnectionsAreBoundedByOpenFiles(t *testing.T) {
	for _, test := range []struct {
		name        string
		connections int64
		files       uint64
		want        int64
	}{
		{"more files than anybody needs", 50_000, 1 << 20, 50_000},
		{"without a limit", 50_000, 1<<64 - 1, 50_000},
		{"by default", 0, 1 << 20, 0},
		{"by default, with few files", 0, 20_000, 14_616},
		{"few files", 50_000, 4096, 2688},
		{"hardly any", 50_000, 100, 384},
		{"few connections", 10, 4096, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := (Bootstrap{MaxConnections: test.connections}).limitConnections(test.files).MaxConnections; got != test.want {
				t.Errorf("%d connections, want %d", got, test.want)
			}
		})
	}
}
