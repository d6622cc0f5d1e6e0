package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

func TestLettingGoGivesUpAnEarlierFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs freezes
		home, other := uuid.New(), uuid.New()
		ctx, ended := fs.begin(home, time.Minute)
		elsewhere, endedElsewhere := fs.begin(other, time.Minute)
		gaveUp := false
		go func() {
			<-ctx.Done()
			time.Sleep(time.Second) // a look at the machines is under way
			gaveUp = true
			ended()
		}()
		if !fs.end(home, fs.begun(home)) {
			t.Fatal("the freeze was decided on before, and still kept the machines from being let go")
		}
		if !gaveUp {
			t.Fatal("machines would be let go while an earlier freeze can still hit them")
		}
		if elsewhere.Err() != nil {
			t.Fatal("the freeze of another datastore was given up")
		}
		endedElsewhere()
	})
}

func TestFreezeKeepsWhatWasToBeLetGoBefore(t *testing.T) {
	var fs freezes
	home := uuid.New()
	before := fs.begun(home)
	ctx, ended := fs.begin(home, time.Minute)
	defer ended()
	if fs.end(home, before) {
		t.Fatal("machines would be let go though it was decided later to freeze them")
	}
	if ctx.Err() != nil {
		t.Fatal("the later freeze was given up")
	}
}
