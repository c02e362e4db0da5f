/* Answers what came in over the serial console since it was called last, if anything did (quote.c). */
#ifndef TVMMP_GUEST_QUOTE_H
#define TVMMP_GUEST_QUOTE_H

void serve_quotes(void);

#endif
