package link

// neighbourFloors are the sizes of the neighbour tables: room for as many machines on the
// node's links as a cluster has nodes. The limits come from above, so that they never cross:
// beyond the third a packet to a new neighbour is lost.
func neighbourFloors() []floor {
	const nodes = 5000 // of the largest cluster that Kubernetes supports
	var all []floor
	for _, family := range []string{"ipv4", "ipv6"} {
		dir := family + "/neigh/default/gc_thresh"
		all = append(all, floor{dir + "3", 4 * nodes}, floor{dir + "2", 2 * nodes}, floor{dir + "1", nodes})
	}
	return all
}

// RaiseNeighbours gives the neighbour tables room for the machines of a large cluster, and
// returns what it has raised. It lowers nothing. The tables belong to the initial network
// namespace; in another one the settings do not exist, and nothing happens.
func RaiseNeighbours() (raised []string, err error) {
	return raise(settingsDir(), neighbourFloors())
}
