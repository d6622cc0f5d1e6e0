package journal

// The agent and its store process exchange JSON values over the process's
// standard input and output: one reply for each request. Both come from the same
// program, so the form has no version. The first request opens the store.

type request struct {
	Open   *openRequest `json:"open,omitempty"`
	Append []Entry      `json:"append,omitempty"`
	List   *query       `json:"list,omitempty"`
}

type openRequest struct {
	Aside      bool   `json:"aside"` // move what is there aside first: it made an earlier process fail
	MaxEntries uint64 `json:"maxEntries"`
	MaxBytes   int64  `json:"maxBytes"`
	Reserve    int64  `json:"reserve"`
	Newest     int    `json:"newest"` // how many entries to return
}

type query struct {
	Filter
	Before uint64 `json:"before"` // only ids below this one
}

type reply struct {
	Trouble    trouble `json:"trouble,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	MovedAside string  `json:"movedAside,omitempty"`
	Last       uint64  `json:"last"` // the newest id on disk
	Entries    []Entry `json:"entries,omitempty"`
}

// trouble is why the store could not do what it was asked for.
type trouble string

const (
	none   trouble = ""
	full   trouble = "full"   // too little disk space
	locked trouble = "locked" // another store process has it
	gone   trouble = "gone"   // its directory was deleted or replaced
	broken trouble = "broken" // what is stored is damaged
	failed trouble = "failed" // anything else
)
