//go:build nextlevel

package datastorehb

// FeatureLevel is one higher in a program built with the tag nextlevel: what the
// next program would be. It differs in nothing else, and is there to try out how
// a cluster is upgraded.
const FeatureLevel = 3
