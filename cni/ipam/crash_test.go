package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/soak"
)

var crashRanges = ranges("10.1.0.0/27", "10.2.0.0/27", "fd00::/64")

// work takes and gives leases until it is killed. For each address that it has,
// it makes a file in a folder beside, which must not exist: the witness.
func work(dir string) int {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	random := rand.New(rand.NewPCG(seed, 1))
	l := Leases{Dir: filepath.Join(dir, "leases"), named: seed%2 == 1}
	for n := 0; ; n++ {
		in := lease(0)
		in.Container = fmt.Sprintf("w%d.%d", seed, n%2)
		ctx, cancel := deadline()
		got, err := l.Take(ctx, in, Wanted{Ranges: crashRanges})
		cancel()
		full := (*ExhaustedError)(nil)
		if err != nil && !errors.As(err, &full) {
			return complain(dir, err)
		}
		for _, a := range got.Addresses {
			w, err := os.OpenFile(filepath.Join(dir, "witness", a.String()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return complain(dir, fmt.Errorf("given twice: %w", err))
			}
			fmt.Fprint(w, in.Container)
			w.Close()
		}
		for range random.IntN(100) { // some leases live longer
			os.Getppid()
		}
		for _, a := range got.Addresses {
			_ = os.Remove(filepath.Join(dir, "witness", a.String()))
		}
		ctx, cancel = deadline()
		err = l.Give(ctx, in.Key)
		cancel()
		if err != nil {
			return complain(dir, err)
		}
	}
}

func complain(dir string, err error) int {
	_ = os.WriteFile(filepath.Join(dir, "complaints", strconv.Itoa(os.Getpid())), []byte(err.Error()), 0o600)
	return 1
}

func TestNoAddressIsGivenTwiceWhenProcessesAreKilled(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"leases", "witness", "complaints"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano()) % 1e9
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := Leases{Dir: filepath.Join(dir, "leases")}
	const workers = 40
	for killed := 0; killed < soak.Pick(240, 10_000); {
		children := map[uint64]*exec.Cmd{}
		for range workers {
			seed++
			c := exec.Command(self)
			c.Env = append(os.Environ(), workerDir+"="+dir, fmt.Sprintf("SEED=%d", seed))
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			children[seed] = c
		}
		for n, c := range children {
			// A moment of its own for each, while the others run on.
			<-time.After(time.Duration(random.IntN(20_000)) * time.Microsecond)
			c.Process.Kill()
			if err := c.Wait(); c.ProcessState.Exited() {
				t.Errorf("worker %d ended by itself: %v", n, err)
			}
			killed++
			for i := range 2 {
				id := fmt.Sprintf("w%d.%d", n, i)
				disown(t, filepath.Join(dir, "witness"), id)
				if err := l.Give(wait(t), Key{id, "eth0"}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := l.Sweep(time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if left := files(t, l.Dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		complaints, _ := filepath.Glob(filepath.Join(dir, "complaints", "*"))
		for _, c := range complaints {
			text, _ := os.ReadFile(c)
			t.Errorf("worker: %s", text)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// disown removes what a dead worker witnessed, before its address is given back.
// A witness that is empty is of a worker killed between two calls; who it was, is
// asked of the lease.
func disown(t *testing.T, dir, container string) {
	t.Helper()
	l := Leases{Dir: filepath.Join(filepath.Dir(dir), "leases")}
	got, found, err := l.Find(Key{container, "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	if found {
		for _, a := range got.Addresses {
			text, err := os.ReadFile(filepath.Join(dir, a.String()))
			if err == nil && (len(text) == 0 || string(text) == container) {
				_ = os.Remove(filepath.Join(dir, a.String()))
			}
		}
	}
}

// crash ends a step by a panic, as if the process ended there: what deferred
// calls undo then is only the descriptors.
type crash struct{}

// crashed runs do and says whether it was ended at step n.
func crashed(l *Leases, n int, do func(Leases)) (ended bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(crash); !ours {
				panic(p)
			}
			ended = true
		}
	}()
	at := *l
	at.step = func(string) {
		if n--; n == 0 {
			panic(crash{})
		}
	}
	do(at)
	return false
}

func TestTakeAndGiveKilledAtEveryStepLoseNothing(t *testing.T) {
	for _, named := range []bool{false, true} {
		for _, op := range []string{"take", "give"} {
			steps := 0
			for n := 1; ; n++ {
				l := Leases{Dir: t.TempDir(), named: named}
				want := Wanted{Ranges: ranges("10.1.0.0/30", "fd00::/126")}
				other, err := l.Take(wait(t), lease(1), want)
				if err != nil {
					t.Fatal(err)
				}
				if op == "give" {
					if _, err := l.Take(wait(t), lease(2), want); err != nil {
						t.Fatal(err)
					}
				}
				if !crashed(&l, n, func(l Leases) {
					if op == "take" {
						_, err = l.Take(wait(t), lease(2), want)
					} else {
						err = l.Give(wait(t), lease(2).Key)
					}
				}) {
					break
				}
				steps++
				_, found, err := l.Find(lease(2).Key)
				if err != nil {
					t.Errorf("%s step %d: %v", op, n, err)
				}
				if all, bad, err := l.All(); err != nil || len(bad) > 0 || (len(all) == 2) != found {
					t.Errorf("%s step %d: all %v, unreadable %v, found %t, error %v", op, n, all, bad, found, err)
				}
				if _, err := l.Take(wait(t), lease(2), want); found && !errors.Is(err, ErrExists) {
					t.Errorf("%s step %d: take again: %v", op, n, err)
				}
				for range 2 {
					if err := l.Give(wait(t), lease(2).Key); err != nil {
						t.Errorf("%s step %d: %v", op, n, err)
					}
				}
				// Both free addresses of each family can be had, and the other lease is whole.
				for i := 3; i < 5; i++ {
					if _, err := l.Take(wait(t), lease(i), want); err != nil {
						t.Errorf("%s step %d: %v", op, n, err)
					}
				}
				if got, found, err := l.Find(other.Key); !found || err != nil || fmt.Sprint(got.Addresses) != fmt.Sprint(other.Addresses) {
					t.Errorf("%s step %d: the other lease: %v %v", op, n, got, err)
				}
				if err := l.Sweep(time.Now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
				for _, name := range files(t, l.Dir) {
					if isUnfinished(name) {
						t.Errorf("%s step %d: %s is left", op, n, name)
					}
				}
			}
			t.Logf("%s, named %t: %d steps", op, named, steps)
		}
	}
}

// A stopped ADD that runs on after its DEL, at each step.
func TestGiveAtEveryStepOfTakeLeavesNothing(t *testing.T) {
	for _, named := range []bool{false, true} {
		for n := 1; ; n++ {
			l := Leases{Dir: t.TempDir(), named: named}
			at, calls := l, 0
			at.step = func(string) {
				if calls++; calls == n {
					if err := l.Give(wait(t), lease(1).Key); err != nil {
						t.Error(err)
					}
				}
			}
			_, err := at.Take(wait(t), lease(1), Wanted{Ranges: ranges("10.1.0.0/30", "fd00::/126")})
			if calls < n {
				break
			}
			_, found, findErr := l.Find(lease(1).Key)
			if findErr != nil || (err != nil && !errors.Is(err, ErrGiven)) || (errors.Is(err, ErrGiven) && found) {
				t.Errorf("step %d: take %v, found %t, find %v", n, err, found, findErr)
			}
			if left := files(t, l.Dir); !found && len(left) > 0 {
				t.Errorf("step %d: left %v", n, left)
			}
		}
	}
}

// A stopped ADD goes on at each step of its DEL.
func TestTakeAtEveryStepOfGiveLeavesNothing(t *testing.T) {
	for n := 1; ; n++ {
		l := Leases{Dir: t.TempDir()}
		f := mustMake(t, l)
		calls := 0
		giving := l
		giving.step = func(string) {
			if calls++; calls == n {
				for _, a := range []string{"10.1.0.2", "fd00::2"} {
					if err := f.link(a); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
				}
			}
		}
		if err := giving.Give(wait(t), lease(1).Key); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if left := files(t, l.Dir); len(left) > 0 {
			t.Errorf("step %d: left %v", n, left)
		}
		if calls < n {
			return
		}
	}
}

// mustMake is a Take that stopped after its first address.
func mustMake(t *testing.T, l Leases) *file {
	t.Helper()
	d, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	f, err := d.make()
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(lease(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.write(text), f.link(lease(1).String()), f.link("10.1.0.1")); err != nil {
		t.Fatal(err)
	}
	return f
}
