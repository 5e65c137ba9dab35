/* The protocol of versions.h as a model for spin: readers that enter and leave a table, a writer that flips or, behind
   the gate, overwrites, maybe withdrawing the version meanwhile. Checked: nobody reads what is being written or is told
   that there is no version, one step reads one version, and somebody always gets on. tests/protocol_model.sh also checks
   that each of four mistakes is found: -DSKIP_RECHECK, -DEARLY_FLIP, -DNO_WAIT, -DUNCOUNTED_GATE. Every load, store and
   increment is one step, as they are sequentially consistent. */
#define READERS 2
#define STEPS 2
#define UPDATES 3

#define NONE 2

byte current = 0;     /* which of the two tables, or NONE */
byte readers[2];      /* counted in */
byte gate = 0;        /* odd: shut */
byte content[2];      /* the version that a table's slots hold */
bool writing[2];

proctype reader() {
  byte table, gate_before, seen, steps = 0;
  do
  :: steps == STEPS -> break
  :: else ->
enter:
     atomic { gate % 2 == 0; gate_before = gate };
     table = current;
     if
     :: table == NONE ->
#ifdef UNCOUNTED_GATE
        assert(gate % 2 == 1);
#else
        assert(gate != gate_before);
#endif
        goto enter
     :: else
     fi;
     readers[table]++;
#ifndef SKIP_RECHECK
     if
     :: current == table -> skip
     :: else -> goto leave_again
     fi;
#endif
     if
     :: gate == gate_before -> goto inside
     :: else -> goto leave_again
     fi;
leave_again:
     readers[table]--;
     goto enter;
inside:
     assert(!writing[table]);
     seen = content[table];
     assert(!writing[table]);
     assert(content[table] == seen);
progress_step:
     readers[table]--;
     steps++
  od
}

inline flip(version) {
  other = 1 - current;
#ifdef EARLY_FLIP
  current = other;
#endif
#ifndef NO_WAIT
  readers[other] == 0;
#endif
  writing[other] = true;
  content[other] = version;
  writing[other] = false;
  current = other
}

/* Overwrites what is read, with everybody out; or gives up, as after a timeout. */
inline overwrite(version) {
  gate++;
  if
  :: readers[0] == 0 ->
     readers[1] == 0;
     other = 1 - current;
     if
     :: current = NONE
     :: skip
     fi;
     writing[0] = true;
     writing[1] = true;
     content[other] = version;
     current = other;
     writing[0] = false;
     writing[1] = false
  :: skip
  fi;
  gate++
}

active proctype writer() {
  byte other, update = 0;
  byte i = 0;
  do
  :: i < READERS -> run reader(); i++
  :: else -> break
  od;
  do
  :: update == UPDATES -> break
  :: else ->
     update++;
     if
     :: flip(update)
     :: overwrite(update)
     fi;
progress_update:
     skip
  od
}
