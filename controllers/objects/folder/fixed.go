package folder

import (
	"reflect"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// Fixed makes a Cache of objects that are in no file and never change: those of a
// cluster at one moment. It leaves out objects of kinds that are not read.
func Fixed(objects []client.Object) (*Cache, error) {
	scheme, err := index.Scheme()
	if err != nil {
		return nil, err
	}
	c := &Cache{
		options: Options{Now: time.Now},
		store:   newStore(),
		scheme:  scheme,
		tree:    newTree(nil, Limits{}),
		merged:  true, // there are no files to replace them
	}
	all := make(map[ref]locatedObject, len(objects))
	for _, object := range objects {
		for _, k := range kinds() {
			if sameType(k.empty(), object) {
				all[ref{k.Kind, client.ObjectKeyFromObject(object)}] = locatedObject{object: object}
			}
		}
	}
	c.store.set(all)
	c.Cache, err = c.informers()
	return c, err
}

func sameType(a, b client.Object) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
