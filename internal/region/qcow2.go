package region

import (
	"encoding/binary"
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
)

// The part of the qcow2 format (QEMU, docs/interop/qcow2.txt, version 3) that a
// file needs which is written once and in order: no snapshots, no backing file,
// no compression, every reference count 1.
const (
	clusterBits     = 16
	cluster         = 1 << clusterBits
	tableEntries    = cluster / 8 // in a cluster of the L1, an L2, or the refcount table
	refcountEntries = cluster / 2 // of 16 bits
	headerLength    = 104
	copied          = 1 << 63 // "the reference count is exactly one"
)

// qcow2Plan counts the clusters of each kind, in the order in which they lie in the
// file: header, refcount table, refcount blocks, L1 table, L2 tables, data.
type qcow2Plan struct {
	refTable, refBlocks, l1, l2, data int64
	l1Entries                         int64
}

func layOutQCOW2(m cas.Manifest) (layout, error) {
	clusters, tables := usedClusters(m)
	plan := qcow2Plan{data: int64(len(clusters)), l2: tables, l1Entries: ceil(m.Size, cluster*tableEntries)}
	plan.l1 = ceil(plan.l1Entries, tableEntries)
	plan.countReferences()
	if plan.l1Entries*8 > 32<<20 {
		return layout{}, fmt.Errorf("an image of %d bytes is too large for qcow2 with clusters of %d bytes", m.Size, cluster)
	}
	out := layout{size: plan.total() * cluster, head: make([]byte, plan.dataStart())}
	plan.putHeader(out.head, m.Size)
	plan.putReferences(out.head)
	plan.putTables(out.head, clusters)
	out.offsets = plan.place(m, clusters)
	return out, nil
}

// usedClusters lists the guest's clusters with data, and counts the L2 tables
// that they need.
func usedClusters(m cas.Manifest) (clusters []int64, tables int64) {
	next, table := int64(0), int64(-1)
	for _, e := range m.Extents {
		for c := max(next, e.Offset>>clusterBits); c <= (e.Offset+e.Length-1)>>clusterBits; c++ {
			clusters, next = append(clusters, c), c+1
			if c/tableEntries != table {
				table = c / tableEntries
				tables++
			}
		}
	}
	return clusters, tables
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }

// countReferences finds how many clusters hold the reference counts, which
// count themselves too.
func (p *qcow2Plan) countReferences() {
	for {
		blocks := ceil(p.total(), refcountEntries)
		table := ceil(blocks, tableEntries)
		if blocks == p.refBlocks && table == p.refTable {
			return
		}
		p.refBlocks, p.refTable = blocks, table
	}
}

func (p *qcow2Plan) l1Start() int64   { return (1 + p.refTable + p.refBlocks) * cluster }
func (p *qcow2Plan) l2Start() int64   { return p.l1Start() + p.l1*cluster }
func (p *qcow2Plan) dataStart() int64 { return p.l2Start() + p.l2*cluster }
func (p *qcow2Plan) total() int64     { return p.dataStart()/cluster + p.data }

func (p *qcow2Plan) putHeader(head []byte, size int64) {
	copy(head, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(head[4:], 3)                      // version
	be.PutUint32(head[20:], clusterBits)           // cluster_bits
	be.PutUint64(head[24:], uint64(size))          // size
	be.PutUint32(head[36:], uint32(p.l1Entries))   // l1_size
	be.PutUint64(head[40:], uint64(p.l1Start()))   // l1_table_offset
	be.PutUint64(head[48:], cluster)               // refcount_table_offset
	be.PutUint32(head[56:], uint32(p.refTable))    // refcount_table_clusters
	be.PutUint32(head[96:], 4)                     // refcount_order: 16 bits
	be.PutUint32(head[100:], uint32(headerLength)) // header_length; no extensions follow
}

func (p *qcow2Plan) putReferences(head []byte) {
	blocks := (1 + p.refTable) * cluster
	for i := range p.refBlocks {
		binary.BigEndian.PutUint64(head[cluster+i*8:], uint64(blocks+i*cluster))
	}
	for i := range p.total() {
		binary.BigEndian.PutUint16(head[blocks+i*2:], 1)
	}
}

func (p *qcow2Plan) putTables(head []byte, clusters []int64) {
	current, l2 := int64(-1), p.l2Start()-cluster
	for rank, c := range clusters {
		if c/tableEntries != current {
			current = c / tableEntries
			l2 += cluster
			binary.BigEndian.PutUint64(head[p.l1Start()+current*8:], uint64(l2)|copied)
		}
		data := p.dataStart() + int64(rank)*cluster
		binary.BigEndian.PutUint64(head[l2+c%tableEntries*8:], uint64(data)|copied)
	}
}

// place finds where extents go. The clusters of one extent follow each other in
// the file, because all of them have data.
func (p *qcow2Plan) place(m cas.Manifest, clusters []int64) []int64 {
	offsets := make([]int64, len(m.Extents))
	rank := 0
	for i, e := range m.Extents {
		for clusters[rank] < e.Offset>>clusterBits {
			rank++
		}
		offsets[i] = p.dataStart() + int64(rank)*cluster + e.Offset%cluster
	}
	return offsets
}
