package replica

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
)

// coming says that events of an Ingress are on their way. It has their versions.
type coming struct {
	oldest, newest Version
	since          time.Time
}

// lost is how long an event may be on its way. An event that has not come by then
// never will: a list was given up halfway, or the object was gone before the
// handler was added.
const lost = 30 * time.Second

// Coming says that an event of an Ingress in this version is on its way. A watch
// delivers events in the order of their versions. But after a gap (the API server
// answers 410) a list delivers all that changed meanwhile, in no such order. So
// call Coming for each object of the list before the first of them reaches Saw.
// Until Saw has taken an event, the Tracker claims no version that is as new.
func (t *Tracker) Coming(name types.NamespacedName, version Version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version <= t.seen {
		return
	}
	c, known := t.coming[name]
	if !known {
		c = coming{oldest: version}
	}
	c.newest, c.since = max(c.newest, version), t.now()
	set(&t.coming, name, c)
}

// came says that the event of an Ingress in this version is here.
func (t *Tracker) came(name types.NamespacedName, version Version) {
	t.seen = max(t.seen, version)
	c, known := t.coming[name]
	switch {
	case !known:
	case version >= c.newest:
		shrink.Delete(&t.coming, name)
	default:
		c.oldest = max(c.oldest, version+1)
		t.coming[name] = c
	}
}

// watermark returns the version up to which every event is here.
func (t *Tracker) watermark() Version {
	mark := t.seen
	now := t.now()
	for name, c := range t.coming {
		if now.Sub(c.since) >= lost {
			shrink.Delete(&t.coming, name)
			continue
		}
		mark = min(mark, c.oldest-1)
	}
	return mark
}
