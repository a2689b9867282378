/* One event on its way through two workers, a broker, a sweeper and the state store; see README.md.
 *
 * Every guarded block of a process is one step that others see whole: one call of a port. Between two steps any time may
 * pass, so a paused worker that wakes up too late (a zombie) needs nothing of its own: the broker lets its lease run out
 * meanwhile. A worker may also die at every step and start anew without memory.
 *
 * Trouble that nothing forces to end (leases that run out under a living worker, early and repeated deliveries, deaths,
 * redrives) comes out of one budget, TROUBLE. What a bad function does to its worker is free: the counters must end it.
 *
 * Each -D<VARIANT> breaks one rule of the design; `run_model` has the list.
 */
#ifndef TROUBLE
#define TROUBLE 2
#endif
#ifndef REDRIVES_MAX
#define REDRIVES_MAX 1
#endif
#define WORKERS 2
#define GENERATIONS (REDRIVES_MAX + 1)
#define FAILURES_MAX 2 /* attempts that may fail: one retry */
#define LOSSES_MAX 2
#define TOKENS 4 /* attempts that are known at the same time; a slot stands for a fresh random token */
#define NOBODY 255

mtype = { ready, held, acked, dead };         /* the message */
mtype = { unknown, open, ended, named };      /* an attempt's row */
mtype = { none, succeeded, failed, lost };    /* outcome of a run or an attempt */
mtype = { idle, finding, beginning, starting, running, deciding, ending, giving_up, dropping, returning,
          placing, publishing, marking, settling, checking, removing }; /* what a process does next */

/* The broker. `mine[w]`: worker w holds the lease. */
mtype message = ready;
bool mine[WORKERS];
bool begun;
byte failures, losses, redrives;

/* The state store: a row per run id, hence per generation, and a row per attempt. */
mtype row[GENERATIONS] = none;
byte token_of[GENERATIONS] = NOBODY;
bool placed[GENERATIONS], published[GENERATIONS];
mtype attempt[TOKENS] = unknown;

/* The object store: the attempts' directories, and whose outputs are under the user's names. */
bool directory[TOKENS];
byte standing = NOBODY;

/* Downstream: events that were accepted, per run. */
byte downstream[GENERATIONS];

/* For the properties and for what a process knows of itself. */
mtype first[GENERATIONS] = none; /* what was committed first, and by whom */
byte first_token[GENERATIONS] = NOBODY;
bool letter[GENERATIONS];  /* a dead letter was written */
bool alive[TOKENS];        /* the process that made the attempt still handles it */
byte listed = NOBODY;      /* the attempt that the sweeper has in hand */
byte trouble = TROUBLE;

/* Properties 1 and 4: the first row of a run stands, whatever comes later. */
inline commit_row(id, outcome, owner) {
  if
  :: row[id] == none ->
     row[id] = outcome;
     token_of[id] = owner
#ifdef NO_CREATE_ONLY
  :: else ->
     row[id] = outcome;
     token_of[id] = owner
#else
  :: else
#endif
  fi;
  if
  :: first[id] == none -> first[id] = outcome; first_token[id] = owner
  :: else
  fi;
  assert(row[id] == first[id] && token_of[id] == first_token[id]);
  assert(!(letter[id] && row[id] == succeeded));
  if
  :: owner != NOBODY && token_of[id] == owner -> attempt[owner] = named
  :: else
  fi
}

/* Property 1: no outputs but those of one attempt ever stand, and they are there to be placed. */
inline place_outputs(owner) {
  assert(directory[owner]);
  assert(standing == NOBODY || standing == owner);
  standing = owner
}

/* Property 2: ids follow from the run, so a repeat is known. */
inline publish_outputs(id) {
  if
#ifndef NEW_IDS
  :: downstream[id] > 0 /* a duplicate */
#endif
  :: else -> downstream[id]++
  fi;
  assert(downstream[id] <= 1)
}

/* Directories that a row names are what downstream events read. */
inline remove_directory(owner) {
  assert(attempt[owner] != named);
  directory[owner] = false;
  attempt[owner] = unknown
}

inline take_message_from_all() {
  mine[0] = false;
  mine[1] = false;
  begun = false
}

/* Property 4: what is a dead letter has not succeeded, and will not. */
inline write_letter(id) {
  assert(row[id] != succeeded);
  letter[id] = true;
  take_message_from_all();
  message = dead
}

inline give_back(me) {
  if
  :: mine[me] -> take_message_from_all(); message = ready
  :: else /* somebody else's by now: refused */
  fi
}

/* Forgets everything, as a process does that ends. */
inline forget() {
  if
  :: token != NOBODY -> alive[token] = false
  :: else
  fi;
  token = NOBODY;
  g = 0;
  redriven = 0;
  failed_before = 0;
  verdict = none;
  step = idle
}

#define FREE(slot) (attempt[slot] == unknown && !alive[slot] && listed != slot)

/* The attempt is on record before its directory exists. */
inline start(slot) {
  token = slot;
  attempt[slot] = open;
  directory[slot] = true;
  alive[slot] = true;
  step = running
}

proctype Worker(byte me) {
  mtype step = idle;
  mtype verdict = none; /* what the attempt counts as when the message is given back */
  byte g, redriven, failed_before;
  byte token = NOBODY;

end:
  do
  :: atomic { step == idle && message == ready ->
       message = held;
       mine[me] = true;
       redriven = redrives;
       step = finding }
  :: atomic { step == idle && message == held && !mine[me] && trouble > 0 -> /* redelivered although its owner lives */
       trouble--;
       redriven = redrives;
       step = finding }

  :: atomic { step == finding ->
       do
       :: row[g] == failed && g < redriven -> g++
       :: else -> break
       od;
       if
       :: row[g] == none -> step = beginning
       :: else -> step = placing
       fi }

  :: atomic { step == beginning -> /* compare-and-set of owner, lease and counters */
       if
       :: message == held && !begun && redriven == redrives ->
          take_message_from_all();
          mine[me] = true;
          begun = true;
          failed_before = failures;
          if
          :: losses >= LOSSES_MAX -> step = giving_up
          :: else -> step = starting
          fi
       :: else -> forget() /* somebody else has begun, or it is over */
       fi }

  :: atomic { step == starting && FREE(0) -> start(0) }
  :: atomic { step == starting && !FREE(0) && FREE(1) -> start(1) }
  :: atomic { step == starting && !FREE(0) && !FREE(1) && FREE(2) -> start(2) }
  :: atomic { step == starting && !FREE(0) && !FREE(1) && !FREE(2) && FREE(3) -> start(3) }

  :: atomic { step == running ->
       if
       :: step = deciding
       :: verdict = failed; step = ending
       :: verdict = lost; step = ending /* its process vanished under a worker that lives */
       :: mine[me] = false; forget() /* took the worker along */
       fi }

  /* A worker that knows that it lost its lease starts no commit; it may also learn of it too late. */
  :: atomic { step == deciding && !mine[me] -> step = ending }
#ifdef SETTLE_BEFORE_COMMIT
  :: atomic { step == deciding -> step = settling }
#else
#ifndef COMMIT_WITHOUT_TOKEN_CHECK
  :: atomic { step == deciding && attempt[token] != open -> step = dropping } /* given up meanwhile: refused */
  :: atomic { step == deciding && attempt[token] == open ->
#else
  :: atomic { step == deciding ->
#endif
#ifdef PLACE_BEFORE_COMMIT
       place_outputs(token);
#endif
       commit_row(g, succeeded, token);
       if
       :: trouble > 0 -> /* the answer is lost: whether a row stands is asked by the next delivery */
          trouble--;
#ifdef DROP_AFTER_UNKNOWN_COMMIT
          step = dropping
#else
          step = returning
#endif
#ifdef ACK_BEFORE_PLACE
       :: step = settling
#else
       :: step = placing
#endif
       fi }
#endif

  :: atomic { step == ending ->
       if
       :: attempt[token] == open -> attempt[token] = ended
       :: else /* given up meanwhile */
       fi;
       if
       :: verdict == failed && failed_before + 1 >= FAILURES_MAX -> step = giving_up
       :: else -> step = dropping
       fi }
  :: atomic { step == dropping ->
       remove_directory(token);
       alive[token] = false;
       token = NOBODY;
       step = returning }
  :: atomic { step == returning ->
       if
#ifndef NO_FAILURE_COUNT
       :: mine[me] && verdict == failed -> failures++
#endif
#ifndef NO_LOSS_COUNT
       :: mine[me] && verdict == lost -> losses++
#endif
       :: else
       fi;
       give_back(me);
       forget() }

  :: atomic { step == giving_up ->
#ifdef DEAD_LETTER_BEFORE_COMMIT
       if
       :: !letter[g] && mine[me] ->
          write_letter(g)
       :: else ->
          commit_row(g, failed, NOBODY);
          step = placing
       fi
#else
       commit_row(g, failed, NOBODY);
       step = placing
#endif
     }

  /* From here on the row says what to do, whoever wrote it. */
  :: atomic { step == placing ->
       if
       :: token != NOBODY && attempt[token] != named -> /* failed, or lost the race */
          remove_directory(token);
          alive[token] = false;
          token = NOBODY
       :: else
       fi;
       if
       :: row[g] == failed || (placed[g] && published[g]) -> step = settling
       :: else ->
          place_outputs(token_of[g]);
#ifdef MARK_BEFORE_PUBLISH
          step = marking
#else
          step = publishing
#endif
       fi }
  :: atomic { step == publishing ->
       publish_outputs(g);
#ifdef MARK_BEFORE_PUBLISH
       step = settling
#else
       step = marking
#endif
     }
  :: atomic { step == marking ->
       placed[g] = true;
       published[g] = true;
#ifdef MARK_BEFORE_PUBLISH
       step = publishing
#else
       step = settling
#endif
     }
  :: atomic { step == settling ->
       if
       :: redriven == redrives && (message == ready || message == held) ->
          if
          :: row[g] == failed -> write_letter(g)
          :: else -> /* property 3 */
             assert(row[g] == succeeded && standing == token_of[g] && downstream[g] == 1);
             take_message_from_all();
             message = acked
          fi
       :: !mine[me] /* the broker can tell that the lease is lost */
       fi;
       forget() }

  :: atomic { step != idle && trouble > 0 -> /* dies */
       trouble--;
       mine[me] = false;
       forget() }
  od
}

/* The lease has run out. */
inline release() {
  if
#ifndef NO_LOSS_COUNT
  :: begun -> losses++
#endif
  :: else
  fi;
  take_message_from_all();
  message = ready
}

/* The message is there again; a redrive raises the generation that may run. */
inline renew(redrive) {
  redrives = redrives + redrive;
  failures = 0;
  losses = 0;
  message = ready
}

proctype Broker() {
end:
  do
#ifndef NO_EXPIRY
  :: atomic { message == held && !mine[0] && !mine[1] -> release() } /* of a dead worker */
#endif
  :: atomic { message == held && (mine[0] || mine[1]) && trouble > 0 -> trouble--; release() }
  :: atomic { (message == acked || message == dead) && trouble > 0 -> trouble--; renew(0) } /* delivered once more */
  :: atomic { message == dead && redrives < REDRIVES_MAX && trouble > 0 -> trouble--; renew(1) }
  :: atomic { trouble > 0 -> trouble-- } /* or none comes */
  od
}

/* What the sweeper may give up. A node that others take for dead may only be paused: its attempt is given up all the
 * same, and since that is on record, it cannot commit any more. */
#define UNFINISHED(id) (row[id] == succeeded && !(placed[id] && published[id]))
#define LEFT(owner) (attempt[owner] == open || (attempt[owner] == ended && !alive[owner]))
#ifdef SWEEP_BY_OLD_LIST
#define ABANDONED (!alive[listed])
#else
#define ABANDONED (attempt[listed] == open && !alive[listed])
#endif

proctype Sweeper() {
  mtype step = idle;
  byte g;

end:
  do
  :: atomic { step == idle && UNFINISHED(0) -> g = 0; step = placing }
#if REDRIVES_MAX > 0
  :: atomic { step == idle && UNFINISHED(1) -> g = 1; step = placing }
#endif
  :: atomic { step == placing -> place_outputs(token_of[g]); step = publishing }
  :: atomic { step == publishing -> publish_outputs(g); step = marking }
  :: atomic { step == marking ->
       placed[g] = true;
       published[g] = true;
       g = 0;
       step = idle }

  :: atomic { step == idle && LEFT(0) -> listed = 0; step = checking }
  :: atomic { step == idle && LEFT(1) -> listed = 1; step = checking }
  :: atomic { step == idle && LEFT(2) -> listed = 2; step = checking }
  :: atomic { step == idle && LEFT(3) -> listed = 3; step = checking }
  :: atomic { step == checking ->
       if
#ifdef SWEEP_THE_LIVING
       :: attempt[listed] == open && !mine[0] && !mine[1] -> step = removing
#endif
       :: attempt[listed] == open && alive[listed] && trouble > 0 -> /* its node seems dead */
          trouble--;
          attempt[listed] = ended;
          step = removing
       :: ABANDONED ->
          attempt[listed] = (attempt[listed] == open -> ended : attempt[listed]);
          step = removing
       :: attempt[listed] == ended && !alive[listed] -> step = removing
       :: else -> listed = NOBODY; step = idle
       fi }
  :: atomic { step == removing ->
       remove_directory(listed);
       listed = NOBODY;
       step = idle }

  :: atomic { step != idle && trouble > 0 -> /* dies */
       trouble--;
       g = 0;
       listed = NOBODY;
       step = idle }
  od
}

/* Time passes even where nothing else happens. Without a clock, an execution ends there, and a process that is stuck
 * midway is an invalid end state. */
proctype Clock() {
  do
  :: atomic { true -> skip }
  od
}

init {
  atomic {
    run Worker(0);
    run Worker(1);
    run Broker();
    run Sweeper();
#ifdef CLOCK
    run Clock()
#endif
  }
}

#define FINISHED(id) (row[id] != succeeded || (placed[id] && published[id]))
#if REDRIVES_MAX > 0
#define ALL_FINISHED (FINISHED(0) && FINISHED(1))
#else
#define ALL_FINISHED FINISHED(0)
#endif

/* Property 5. */
ltl ends { <>[] ((message == acked || message == dead) && ALL_FINISHED) }
