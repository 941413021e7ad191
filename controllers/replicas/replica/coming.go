package replica

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
)

// coming is that events of an Ingress are on their way, by their versions.
type coming struct {
	oldest, newest Version
	since          time.Time
}

// lost is how long an event may be on its way. What has not come by then never
// will: a list that was given up halfway, an object that was gone before anybody
// listened.
const lost = 30 * time.Second

// Coming takes that an event of an Ingress in this version is on its way. A watch
// delivers events in the order of their versions, but after a gap in it (the API
// server answers 410) all that changed meanwhile comes as a list, in no such
// order. So call it for each before the first of them reaches Saw: until Saw has
// taken it too, nothing that is as new is claimed.
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

// came takes that the event of an Ingress in this version is here.
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

// watermark is the version up to which every event is here.
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
