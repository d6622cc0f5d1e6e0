//go:build !nextlevel

package datastorehb

// FeatureLevel is the highest feature level that this program knows.
const FeatureLevel = 2
