package repository_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"storebeat/test/repository"
)

var root = sync.OnceValues(repository.Root)

var sources = sync.OnceValues(func() ([]*repository.File, error) {
	folder, err := root()
	if err != nil {
		return nil, err
	}
	return repository.Sources(folder)
})

func sourcesOf(t *testing.T) (string, []*repository.File) {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	folder, _ := root()
	return folder, files
}

func none(t *testing.T, broken []string) {
	t.Helper()
	for _, b := range broken {
		t.Error(b)
	}
}

func TestImportsFollowTheLayers(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.Layering(files))
}

func TestTheProgramContainsNoTests(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.Shipped(files))
}

func TestPurePackagesArePure(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.Impurities(files))
}

func TestEveryPackageHasAComment(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.Uncommented(files))
}

func TestNamesSaySomething(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.EmptyNames(files))
}

func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	folder, files := sourcesOf(t)
	none(t, repository.SeedlessFuzzTargets(folder, files))
}

func TestTestsDoNotSleep(t *testing.T) {
	_, files := sourcesOf(t)
	none(t, repository.Sleeps(files))
}

func TestDocuments(t *testing.T) {
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	documents, err := repository.Documents(folder)
	if err != nil {
		t.Fatal(err)
	}
	none(t, repository.BrokenLinks(folder, documents))
	if _, err := os.Stat(filepath.Join(folder, "README.md")); err == nil {
		none(t, repository.Unlinked(documents))
	}
}

func TestNothingIsLeftForLater(t *testing.T) {
	folder, files := sourcesOf(t)
	words := []string{"TO" + "DO", "FIX" + "ME"}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(folder, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if strings.Contains(string(content), word) {
				t.Errorf("%s contains %s: do it, or open an issue", f.Path, word)
			}
		}
	}
}
